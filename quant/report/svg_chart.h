// Line charts as inline SVG, for the report page. Stateless.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace pactory::quant {

/// One line of a chart.
struct ChartLine {
  /// Shown in the legend where there are at most eight lines, else as the line's tooltip.
  std::string name;
  /// x and y; points whose y is not finite are left out.
  std::vector<std::pair<double, double>> points;
};

/// A chart.
struct Chart {
  std::string title;
  std::string x_label;
  std::vector<ChartLine> lines;
  /// Horizontal line for comparison, like the FP32 accuracy; not drawn where the name is empty.
  std::string reference_name;
  double reference = 0;
};

/// Returns an <svg> element, or "" where there is no point to draw.
std::string DrawChart(const Chart& chart);

/// Returns `text` with <, >, & and quotes escaped for HTML.
std::string EscapeHtml(const std::string& text);

}  // namespace pactory::quant
