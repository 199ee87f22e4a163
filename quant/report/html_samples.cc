#include "quant/report/html_samples.h"

#include <algorithm>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "quant/report/svg_chart.h"

namespace pactory::quant {
namespace {

// A page is for looking; report.json has all of them.
constexpr size_t kShownClasses = 20;
constexpr size_t kShownFlips = 50;
// The usual level at which a difference is called one.
constexpr double kSignificant = 0.05;

std::string RowName(const std::string& row) {
  if (row == "fp32") return "FP32";
  if (row == "ptq") return "Post-training quantization";
  if (row == "qat_plain") return "Plain training";
  if (row == "qat") return "Trained";
  return "Deployed";
}

int64_t ChangeOf(const ClassReport& entry) { return entry.deployed_right - entry.fp32_right; }

}  // namespace

std::string ComparisonSection(const Report& report) {
  if (report.comparisons.empty()) return "";
  std::string html =
      "<section><h2>Differences on the same samples</h2><table><tr><th>First</th><th>Second</th><th>Only the first is right</th>"
      "<th>Only the second is right</th><th>McNemar's p</th><th></th></tr>";
  for (const ComparisonReport& comparison : report.comparisons) {
    absl::StrAppendFormat(&html, "<tr><td>%s</td><td>%s</td><td class=\"num\">%d</td><td class=\"num\">%d</td><td class=\"num\">%.4g</td>"
                                 "<td>%s</td></tr>",
                          RowName(comparison.first), RowName(comparison.second), comparison.counts.only_first,
                          comparison.counts.only_second, comparison.counts.p_value,
                          comparison.counts.p_value < kSignificant ? "more than chance" : "may be chance");
  }
  return html + "</table></section>";
}

std::string ClassSection(const Report& report) {
  if (report.classes.empty()) return "";
  std::vector<ClassReport> changed = report.classes;
  std::stable_sort(changed.begin(), changed.end(), [](const ClassReport& a, const ClassReport& b) { return ChangeOf(a) < ChangeOf(b); });
  if (changed.size() > kShownClasses) changed.resize(kShownClasses);
  std::string html = absl::StrFormat(
      "<section><h2>Classes</h2><p>%d classes, those that lost most first.</p><table><tr><th>Class</th><th>Samples</th>"
      "<th>FP32</th><th>Deployed</th><th>Change, points</th></tr>",
      report.classes.size());
  for (const ClassReport& entry : changed) {
    const double percent = 100.0 / static_cast<double>(std::max<int64_t>(1, entry.samples));
    absl::StrAppendFormat(&html, "<tr><td>%d</td><td class=\"num\">%d</td><td class=\"num\">%.2f %%</td><td class=\"num\">%.2f %%</td>"
                                 "<td class=\"num\">%+.2f</td></tr>",
                          entry.label, entry.samples, percent * static_cast<double>(entry.fp32_right),
                          percent * static_cast<double>(entry.deployed_right), percent * static_cast<double>(ChangeOf(entry)));
  }
  return html + "</table></section>";
}

std::string FlipSection(const Report& report) {
  if (report.flips_total == 0) return "";
  std::string html = absl::StrFormat(
      "<section><h2>Samples whose answer changed</h2><p>%d of %d.</p><details><summary>The first of them</summary><table>"
      "<tr><th>Sample</th><th>Label</th><th>FP32</th><th>Deployed</th></tr>",
      report.flips_total, report.eval_samples);
  for (size_t i = 0; i < std::min(report.flips.size(), kShownFlips); ++i) {
    const FlipReport& flip = report.flips[i];
    absl::StrAppendFormat(&html, "<tr><td class=\"num\">%d</td><td class=\"num\">%s</td><td class=\"num\">%d</td><td class=\"num\">%d</td></tr>",
                          flip.index, flip.label.has_value() ? absl::StrCat(*flip.label) : "–", flip.fp32, flip.deployed);
  }
  for (size_t i = 0; i < std::min(report.line_flips.size(), kShownFlips); ++i) {
    const LineFlipReport& flip = report.line_flips[i];
    absl::StrAppendFormat(&html, "<tr><td class=\"num\">%d</td><td>%s</td><td>%s</td><td>%s</td></tr>", flip.index,
                          flip.label.empty() ? "–" : EscapeHtml(flip.label), EscapeHtml(flip.fp32), EscapeHtml(flip.deployed));
  }
  return html + "</table></details></section>";
}

}  // namespace pactory::quant
