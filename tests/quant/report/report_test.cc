#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "quant/report/report_html.h"
#include "quant/report/report_json.h"
#include "quant/report/svg_chart.h"

namespace pactory::quant {
namespace {

using testing::HasSubstr;
using testing::Not;

Report Sample() {
  Report report;
  report.metric_name = "top1";
  report.fp32 = Accuracy{95, 100};
  report.config.mutable_training()->set_steps(3);
  report.history.alpha_names = {"<relu>"};
  report.history.steps = {{1, 0.5, 1e-4, 1}, {2, std::numeric_limits<double>::quiet_NaN(), 1e-4, 1}};
  report.history.alphas = {{0, {2.0}}, {2, {1.5}}};
  report.history.evaluations = {{2, 0.9}};
  QuantizerReport quantizer;
  quantizer.name = "<script>alert(1)</script>";
  quantizer.target = "activation";
  quantizer.scales = {0.5};
  report.quantizers = {quantizer};
  report.warnings = {"a \"quoted\" warning \xff"};
  return report;
}

TEST(ReportTest, JsonIsValidWhateverNamesAndNumbersAre) {
  const auto json = nlohmann::json::parse(ReportToJson(Sample()), nullptr, false);
  ASSERT_TRUE(json.is_object());
  EXPECT_EQ(json["fp32"]["metric"], 0.95);
  EXPECT_TRUE(json["qat"].is_null());
  EXPECT_TRUE(json["training"]["steps"][1]["loss"].is_null());
  EXPECT_EQ(json["training"]["alphas"]["values"]["<relu>"], (std::vector<double>{2.0, 1.5}));
  EXPECT_EQ(json["quantizers"][0]["scale"], 0.5);
  EXPECT_EQ(json["config"]["training"]["steps"], 3);
}

TEST(ReportTest, PageEscapesNamesOfTheModel) {
  const std::string page = ReportToHtml(Sample());
  EXPECT_THAT(page, Not(HasSubstr("<script")));
  EXPECT_THAT(page, HasSubstr("&lt;script&gt;"));
}

TEST(SvgChartTest, ChartsWithoutPointsOrSpreadDoNotBreak) {
  EXPECT_EQ(DrawChart({.title = "t", .x_label = "x", .lines = {}, .reference_name = ""}), "");
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(DrawChart({.title = "t", .x_label = "x", .lines = {{"l", {{1, nan}}}}, .reference_name = ""}), "");
  for (const auto& points : std::vector<std::vector<std::pair<double, double>>>{{{5, 0}}, {{0, 1}, {1, 1}}, {{0, 1e-9}, {1, 1e9}}}) {
    const std::string svg = DrawChart({.title = "t", .x_label = "x", .lines = {{"l", points}}, .reference_name = ""});
    EXPECT_THAT(svg, HasSubstr("<svg"));
    EXPECT_THAT(svg, Not(HasSubstr("nan")));
    EXPECT_LT(svg.size(), 20000u);
  }
}

}  // namespace
}  // namespace pactory::quant
