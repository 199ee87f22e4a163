#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "quant/report/report_html.h"
#include "quant/report/report_json.h"
#include "quant/report/svg_chart.h"
#include "quant/report/svg_histogram.h"

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
  quantizer.zero_point = 128;
  quantizer.stored_type = "uint8";
  quantizer.histogram = {5, 0, 3};
  quantizer.bin_width = 0.25;
  report.quantizers = {quantizer};
  report.runtimes = {{.name = "<rt>", .version = "1", .instruction_set = "avx2", .optimization = "all", .accuracy = {9, 10}}};
  report.comparisons = {{.first = "fp32", .second = "deployed", .counts = {.only_first = 2, .only_second = 10, .p_value = 0.0386}}};
  report.classes = {{.label = 7, .samples = 4, .fp32_right = 4, .deployed_right = 3}};
  report.flips_total = 1;
  report.flips = {{.index = 12, .label = std::nullopt, .fp32 = 3, .deployed = 5}};
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
  EXPECT_EQ(json["quantizers"][0]["histogram"]["counts"], (std::vector<int>{5, 0, 3}));
  EXPECT_EQ(json["comparisons"][0]["only_second_right"], 10);
  EXPECT_EQ(json["classes"][0]["label"], 7);
  EXPECT_EQ(json["flips"]["total"], 1);
  EXPECT_TRUE(json["flips"]["samples"][0]["label"].is_null());
  EXPECT_EQ(json["runtimes"][0]["accuracy"]["metric"], 0.9);
}

TEST(ReportTest, ScoresAndChangedLinesAreTold) {
  Report report = Sample();
  report.fp32 = Accuracy{.right = 412345, .total = 1000000, .unit = Accuracy::Unit::kMillionths};
  report.scores = {{"ap50", {{"fp32", 0.5}, {"deployed", 0.25}}}};
  report.flips = {};
  report.line_flips = {{.index = 3, .label = "", .fp32 = "a<b", .deployed = "é"}};
  const auto json = nlohmann::json::parse(ReportToJson(report), nullptr, false);
  EXPECT_EQ(json["fp32"], nlohmann::json::parse(R"({"metric": 0.412345, "interval95": null, "right": null, "total": null})"));
  EXPECT_EQ(json["scores"]["ap50"]["deployed"], 0.25);
  EXPECT_EQ(json["flips"]["samples"][0], nlohmann::json::parse(R"({"index": 3, "label": null, "fp32": "a<b", "deployed": "é"})"));
  EXPECT_THAT(ReportToHtml(report), HasSubstr("<td>a&lt;b</td><td>é</td>"));
  EXPECT_EQ(nlohmann::json::parse(ReportToJson(Sample()))["scores"], nlohmann::json::object());
}

TEST(ReportTest, PageEscapesNamesOfTheModel) {
  const std::string page = ReportToHtml(Sample());
  EXPECT_THAT(page, Not(HasSubstr("<script")));
  EXPECT_THAT(page, HasSubstr("&lt;script&gt;"));
  EXPECT_THAT(page, HasSubstr("&lt;rt&gt;"));
}

TEST(ReportTest, PageShowsWhatChangedAndWhetherByChance) {
  const std::string page = ReportToHtml(Sample());
  EXPECT_THAT(page, HasSubstr("0.0386</td><td>more than chance"));
  EXPECT_THAT(page, HasSubstr("<td>7</td><td class=\"num\">4</td><td class=\"num\">100.00 %</td><td class=\"num\">75.00 %</td>"
                              "<td class=\"num\">-25.00</td>"));
  EXPECT_THAT(page, HasSubstr(">12</td><td class=\"num\">–</td><td class=\"num\">3</td><td class=\"num\">5</td>"));
  EXPECT_THAT(page, HasSubstr("class=\"mark\""));
}

TEST(SvgHistogramTest, BarsStandForCountsAndAMarkBeyondThemWidensThePlot) {
  EXPECT_EQ(DrawHistogram({.title = "t", .bin_width = 1, .counts = {0, 0}, .marks = {1}}), "");
  const std::string svg = DrawHistogram({.title = "<t>", .bin_width = 1, .counts = {8, 0, 1}, .marks = {5, 1000}});
  EXPECT_THAT(svg, HasSubstr("&lt;t&gt;"));
  // Two bars, one mark in sight, and the mark inside the plot.
  EXPECT_EQ(std::count(svg.begin(), svg.end(), 'M'), 2);
  EXPECT_THAT(svg, HasSubstr(">5.1</text>"));
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
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
