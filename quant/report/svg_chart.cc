#include "quant/report/svg_chart.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace pactory::quant {
namespace {

constexpr double kWidth = 560, kHeight = 260;
constexpr double kLeft = 56, kRight = 14, kTop = 34, kBottom = 40;
constexpr size_t kLegendLines = 8;
// A line longer than the chart is wide shows no more.
constexpr size_t kMaxPoints = 500;
constexpr int kTicks = 5;

struct Bounds {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();

  void Add(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  bool empty() const { return low > high; }
  void Widen(double share) {
    const double margin = high > low ? (high - low) * share : std::max(1e-6, std::fabs(low) * 0.1);
    low -= margin;
    high += margin;
  }
};

// Steps of 1, 2 or 5 times a power of ten.
double TickStep(const Bounds& bounds) {
  const double rough = (bounds.high - bounds.low) / kTicks;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (rough <= factor * power) return factor * power;
  }
  return 10 * power;
}

// Colors far apart in hue for any number of lines.
std::string Color(size_t index, size_t count) {
  if (count == 1) return "hsl(212,72%,42%)";
  return absl::StrFormat("hsl(%d,65%%,45%%)", static_cast<int>(index * 360 / count + 212) % 360);
}

class Canvas {
 public:
  Canvas(Bounds x, Bounds y) : x_(x), y_(y) {}

  double X(double value) const { return kLeft + (value - x_.low) / (x_.high - x_.low) * (kWidth - kLeft - kRight); }
  double Y(double value) const { return kHeight - kBottom - (value - y_.low) / (y_.high - y_.low) * (kHeight - kTop - kBottom); }

  std::string Axes(const std::string& x_label) const {
    std::string svg;
    const double y_step = TickStep(y_);
    for (double tick = std::ceil(y_.low / y_step) * y_step; tick <= y_.high; tick += y_step) {
      absl::StrAppendFormat(&svg, "<line class=\"grid\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>", kLeft, Y(tick),
                            kWidth - kRight, Y(tick));
      absl::StrAppendFormat(&svg, "<text class=\"tick\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%.4g</text>", kLeft - 6,
                            Y(tick) + 4, std::fabs(tick) < y_step * 1e-6 ? 0 : tick);
    }
    const double x_step = TickStep(x_);
    for (double tick = std::ceil(x_.low / x_step) * x_step; tick <= x_.high; tick += x_step) {
      absl::StrAppendFormat(&svg, "<text class=\"tick\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%.6g</text>", X(tick),
                            kHeight - kBottom + 16, std::fabs(tick) < x_step * 1e-6 ? 0 : tick);
    }
    absl::StrAppendFormat(&svg, "<text class=\"tick\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%s</text>", kWidth - kRight,
                          kHeight - 6, EscapeHtml(x_label));
    return svg;
  }

  std::string Line(const ChartLine& line, const std::string& color) const {
    std::string points;
    const size_t stride = std::max<size_t>(1, line.points.size() / kMaxPoints);
    for (size_t i = 0; i < line.points.size(); i += stride) {
      if (!std::isfinite(line.points[i].second)) continue;
      absl::StrAppendFormat(&points, "%.1f,%.1f ", X(line.points[i].first), Y(line.points[i].second));
    }
    std::string svg = absl::StrFormat("<polyline points=\"%s\" stroke=\"%s\"><title>%s</title></polyline>", points, color,
                                      EscapeHtml(line.name));
    if (line.points.size() <= 12) {
      for (const auto& [x, y] : line.points) {
        if (std::isfinite(y)) absl::StrAppendFormat(&svg, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"/>", X(x), Y(y), color);
      }
    }
    return svg;
  }

 private:
  Bounds x_;
  Bounds y_;
};

}  // namespace

std::string EscapeHtml(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '<': escaped += "&lt;"; break;
      case '>': escaped += "&gt;"; break;
      case '&': escaped += "&amp;"; break;
      case '"': escaped += "&quot;"; break;
      case '\'': escaped += "&#39;"; break;
      default: escaped += c;
    }
  }
  return escaped;
}

std::string DrawChart(const Chart& chart) {
  Bounds x, y;
  for (const ChartLine& line : chart.lines) {
    for (const auto& [px, py] : line.points) {
      if (!std::isfinite(py)) continue;
      x.Add(px);
      y.Add(py);
    }
  }
  if (x.empty()) return "";
  if (!chart.reference_name.empty()) y.Add(chart.reference);
  if (x.low == x.high) x.Widen(0);
  y.Widen(0.06);
  const Canvas canvas(x, y);
  std::string svg = absl::StrFormat("<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"%s\"><text class=\"title\" x=\"%.0f\" y=\"18\">%s</text>",
                                    kWidth, kHeight, EscapeHtml(chart.title), kLeft, EscapeHtml(chart.title));
  svg += canvas.Axes(chart.x_label);
  if (!chart.reference_name.empty()) {
    absl::StrAppendFormat(&svg, "<line class=\"reference\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>", kLeft,
                          canvas.Y(chart.reference), kWidth - kRight, canvas.Y(chart.reference));
    absl::StrAppendFormat(&svg, "<text class=\"tick\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%s</text>", kWidth - kRight,
                          canvas.Y(chart.reference) - 4, EscapeHtml(chart.reference_name));
  }
  for (size_t i = 0; i < chart.lines.size(); ++i) svg += canvas.Line(chart.lines[i], Color(i, chart.lines.size()));
  svg += "</svg>";
  if (chart.lines.size() > 1 && chart.lines.size() <= kLegendLines) {
    svg += "<div class=\"legend\">";
    for (size_t i = 0; i < chart.lines.size(); ++i) {
      absl::StrAppendFormat(&svg, "<span><i style=\"background:%s\"></i>%s</span>", Color(i, chart.lines.size()),
                            EscapeHtml(chart.lines[i].name));
    }
    svg += "</div>";
  }
  return svg;
}

}  // namespace pactory::quant
