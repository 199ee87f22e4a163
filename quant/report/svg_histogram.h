// Histograms as inline SVG, for the report page. Stateless.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace pactory::quant {

/// Bars over equal bins from 0 on, with marks at some values.
struct HistogramPlot {
  std::string title;
  double bin_width = 1;
  std::vector<int64_t> counts;
  /// Vertical lines, like the ends of a grid; one beyond the last bin widens the plot up to twice.
  std::vector<double> marks;
};

/// Returns an <svg> element with logarithmic heights, as tails matter here; "" where nothing was counted.
std::string DrawHistogram(const HistogramPlot& plot);

}  // namespace pactory::quant
