#include "quant/report/html_quantizers.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "quant/report/svg_chart.h"
#include "quant/report/svg_histogram.h"

namespace pactory::quant {
namespace {

std::string ActivationTable(const Report& report) {
  std::string html =
      "<section><h2>Activation quantizers</h2><table><tr><th>Tensor</th><th>Written by</th><th>Method</th><th>Grid</th><th>Scale</th>"
      "<th>alpha</th><th>Start</th><th>Clipped</th><th>Range stable after</th><th>Largest in</th></tr>";
  for (const QuantizerReport& q : report.quantizers) {
    if (q.target != "activation") continue;
    absl::StrAppendFormat(&html, "<tr><td>%s</td><td>%s</td><td>%s</td><td>%d bit, %s</td><td class=\"num\">%.5g</td><td class=\"num\">%s</td>"
                                 "<td class=\"num\">%s</td><td class=\"num\">%s</td><td class=\"num\">%s</td><td class=\"num\">%s</td></tr>",
                          EscapeHtml(q.name), EscapeHtml(q.node.empty() ? "the model's input" : q.node), q.method, q.bits,
                          q.is_signed ? "signed" : "unsigned", q.scales.empty() ? 0 : q.scales[0],
                          q.alpha.has_value() ? absl::StrFormat("%.4g", *q.alpha) : "–",
                          q.alpha_initial.has_value() ? absl::StrFormat("%.4g", *q.alpha_initial) : "–",
                          q.clipped_share.has_value() ? absl::StrFormat("%.3f %%", 100 * *q.clipped_share) : "–",
                          q.stable_after_batches.has_value()
                              ? absl::StrFormat("%d of %d batches", *q.stable_after_batches, q.calibration_batches.value_or(0))
                              : "–",
                          q.largest_sample.has_value() ? absl::StrFormat("sample %d", *q.largest_sample) : "–");
  }
  return html + "</table></section>";
}

// Both ends of the grid by |x|: where a signed tensor is clipped below and above.
std::string HistogramOf(const QuantizerReport& q) {
  if (q.scales.empty() || !q.zero_point.has_value()) return "";
  const double levels = static_cast<double>((int64_t{1} << q.bits) - 1);
  std::vector<double> marks;
  if (!q.is_signed) {
    marks = {q.scales[0] * levels};
  } else if (*q.zero_point == (q.stored_type == "int8" ? 0 : 128)) {
    marks = {q.scales[0] * (levels - 1) / 2};
  } else {
    const double below = static_cast<double>(*q.zero_point + (q.stored_type == "int8" ? 128 : 0));
    marks = {q.scales[0] * below, q.scales[0] * (levels - below)};
  }
  return DrawHistogram({.title = absl::StrFormat("%s  [%.4g, %.4g]", q.name, q.least, q.largest), .bin_width = q.bin_width,
                        .counts = q.histogram, .marks = marks});
}

std::string Histograms(const Report& report) {
  std::string plots;
  for (const QuantizerReport& q : report.quantizers) {
    const std::string svg = HistogramOf(q);
    if (!svg.empty()) absl::StrAppend(&plots, "<figure>", svg, "</figure>");
  }
  if (plots.empty()) return "";
  return absl::StrCat("<section><h2>Values and clipping</h2><p>|x| of each quantized tensor in the FP32 model on the calibration "
                      "samples, heights logarithmic; the line is where the grid ends.</p><div class=\"histograms\">",
                      plots, "</div></section>");
}

}  // namespace

std::string QuantizerSections(const Report& report) { return ActivationTable(report) + Histograms(report); }

}  // namespace pactory::quant
