#include "quant/report/svg_histogram.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "quant/report/svg_chart.h"

namespace pactory::quant {
namespace {

constexpr double kPlotWidth = 280, kPlotHeight = 130;
constexpr double kPlotTop = 22, kPlotBottom = 18, kPlotSide = 6;

}  // namespace

std::string DrawHistogram(const HistogramPlot& plot) {
  const auto largest = std::max_element(plot.counts.begin(), plot.counts.end());
  if (largest == plot.counts.end() || *largest <= 0 || !(plot.bin_width > 0)) return "";
  const double data_end = plot.bin_width * static_cast<double>(plot.counts.size());
  double end = data_end;
  for (const double mark : plot.marks) {
    if (std::isfinite(mark) && mark <= 2 * data_end) end = std::max(end, mark * 1.02);
  }
  const double pixels = (kPlotWidth - 2 * kPlotSide) / end;
  const double floor = kPlotHeight - kPlotBottom;
  const double unit = (floor - kPlotTop) / std::log1p(static_cast<double>(*largest));
  std::string path;
  for (size_t i = 0; i < plot.counts.size(); ++i) {
    if (plot.counts[i] <= 0) continue;
    const double height = unit * std::log1p(static_cast<double>(plot.counts[i]));
    absl::StrAppendFormat(&path, "M%.1f %.1fv-%.1fh%.1fv%.1fz", kPlotSide + static_cast<double>(i) * plot.bin_width * pixels, floor,
                          height, plot.bin_width * pixels, height);
  }
  std::string svg = absl::StrFormat(
      "<svg class=\"histogram\" viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"%s\"><text class=\"tick\" x=\"%.0f\" y=\"14\">%s</text>"
      "<path d=\"%s\"/>",
      kPlotWidth, kPlotHeight, EscapeHtml(plot.title), kPlotSide, EscapeHtml(plot.title), path);
  for (const double mark : plot.marks) {
    if (!std::isfinite(mark) || mark > end) continue;
    const double x = kPlotSide + mark * pixels;
    absl::StrAppendFormat(&svg, "<line class=\"mark\" x1=\"%.1f\" y1=\"%.0f\" x2=\"%.1f\" y2=\"%.0f\"/>", x, kPlotTop - 4, x, floor);
  }
  absl::StrAppendFormat(&svg, "<text class=\"tick\" x=\"%.0f\" y=\"%.0f\">0</text><text class=\"tick\" x=\"%.0f\" y=\"%.0f\" "
                              "text-anchor=\"end\">%.4g</text></svg>",
                        kPlotSide, kPlotHeight - 4, kPlotWidth - kPlotSide, kPlotHeight - 4, end);
  return svg;
}

}  // namespace pactory::quant
