#include "quant/pipeline/output_probe.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "config/config_rules.h"
#include "quant/pipeline/choose_quantizers.h"
#include "quant/pipeline/choose_thresholds.h"
#include "quant/pipeline/sensitivity.h"
#include "tests/quant/make_graph.h"

namespace pactory::quant {
namespace {

Node Quantized(const std::string& value) {
  Node node = NodeOf("FakeQuantize", {value}, value + "_q", {{"quantizer", value}});
  node.domain = "pactory";
  return node;
}

QuantizerSpec SpecOf(const std::string& id, double threshold, int64_t bits = 8) {
  QuantizerSpec spec;
  spec.id = id;
  spec.method = v1::ABS_MAX;
  spec.bits = bits;
  spec.threshold = threshold;
  return spec;
}

std::unique_ptr<OutputProbe> ProbeOf(const Graph& graph, const at::Tensor& x) {
  auto probe = OutputProbe::Create(graph, {{x}}, at::kCPU);
  EXPECT_TRUE(probe.ok()) << probe.status();
  return *std::move(probe);
}

TEST(OutputProbeTest, ErrorIsThePowerOfTheRoundingOverThatOfTheOutput) {
  const auto probe = ProbeOf(GraphOf({-1, 3}, {Quantized("x"), NodeOf("Identity", {"x_q"}, "y")}), at::tensor({1.4f, -0.6f, 9.0f}).reshape({1, 3}));
  EXPECT_EQ(probe->ErrorOf({}).value(), 0);
  // Threshold 7 at 4 bits: a step of 1; 1.4 -> 1, -0.6 -> -1, 9 -> 7.
  const double expected = (0.16 + 0.16 + 4.0) / (1.96 + 0.36 + 81.0);
  EXPECT_NEAR(probe->ErrorOf({SpecOf("x", 7, 4)}).value(), expected, 1e-6);
  // Off again.
  EXPECT_EQ(probe->ErrorOf({}).value(), 0);
  EXPECT_FALSE(probe->ErrorOf({SpecOf("unknown", 7)}).ok());
}

TEST(OutputProbeTest, ErrorBehindASoftmaxIsTheDivergenceOfASample) {
  const auto probe = ProbeOf(GraphOf({-1, 2, 2}, {Quantized("x"), NodeOf("Softmax", {"x_q"}, "y", {{"axis", int64_t{-1}}})}),
                             at::tensor({0.4f, 0.0f, 1.0f, 0.0f}).reshape({1, 2, 2}));
  // A step of 1: 0.4 -> 0, the rest stays. KL(softmax(0.4, 0) || (1/2, 1/2)).
  const double p = 1 / (1 + std::exp(-0.4));
  const double expected = p * std::log(2 * p) + (1 - p) * std::log(2 * (1 - p));
  EXPECT_NEAR(probe->ErrorOf({SpecOf("x", 7, 4)}).value(), expected, 1e-6);
}

v1::QuantizationConfig Config() {
  v1::QuantizationConfig config;
  FillDefaults(config);
  config.mutable_activations()->set_method(v1::ABS_MAX);
  config.mutable_calibration()->set_threshold(v1::CalibrationConfig::OUTPUT_ERROR);
  return config;
}

// The same values in front of an output that the huge one decides, and of one that never sees it.
TEST(ChooseThresholdsTest, GoesByTheOutputAndNotByTheTensor) {
  at::Tensor x = at::linspace(-1, 1, 40000).reshape({4, 10000});
  x[0][0] = 100;
  AbsHistogram histogram;
  histogram.Observe(x);
  QuantizationPlan plan;
  plan.activations = {{.id = "x", .value = "x", .bits = 8, .sign = Sign::kAny}};
  const auto choose = [&](const Graph& graph) {
    const auto probe = ProbeOf(graph, x);
    auto chosen = ChooseThresholdsByOutput(*probe, plan, {{"x", histogram}}, Config(), [](double) { return absl::OkStatus(); });
    EXPECT_TRUE(chosen.ok()) << chosen.status();
    return chosen->at("x");
  };
  const std::map<std::string, at::Tensor> bounds = {{"low", at::scalar_tensor(-1.0f)}, {"high", at::scalar_tensor(1.0f)}};
  EXPECT_EQ(choose(GraphOf({-1, 10000}, {Quantized("x"), NodeOf("ReduceMax", {"x_q"}, "y", {{"axes", std::vector<int64_t>{1}}})})), 100);
  EXPECT_LT(choose(GraphOf({-1, 10000}, {Quantized("x"), NodeOf("Clip", {"x_q", "low", "high"}, "y")}, bounds)), 1.1);
}

TEST(ChooseThresholdsTest, MeasuredThresholdIsTheSpecsWhereTheRuleAsksForIt) {
  AbsHistogram histogram;
  histogram.Observe(at::tensor({1.0f, 8.0f}));
  QuantizationPlan plan;
  plan.activations = {{.id = "x", .value = "x", .bits = 8, .sign = Sign::kAny}};
  v1::QuantizationConfig config = Config();
  EXPECT_EQ((*ChooseQuantizers(plan, {{"x", histogram}}, config, {{"x", 2.0}}))[0].threshold, 2);
  EXPECT_EQ((*ChooseQuantizers(plan, {{"x", histogram}}, config))[0].threshold, 8);
  EXPECT_EQ((*ChooseQuantizers(plan, {{"x", histogram}}, PtqBaseline(config), {{"x", 2.0}}))[0].threshold, 8);
}

TEST(SensitivityTest, LayersComeByWhatTheirQuantizationAloneDoes) {
  const at::Tensor weight = at::tensor({1.0f, 0.3f, -0.2f, 0.7f}).reshape({2, 2});
  const Graph graph = GraphOf({-1, 2},
                              {Quantized("coarse"), Quantized("fine"), NodeOf("MatMul", {"x", "fine_q"}, "h"),
                               NodeOf("MatMul", {"h", "coarse_q"}, "y")},
                              {{"fine", weight}, {"coarse", weight}});
  QuantizationPlan plan;
  plan.layers = {{.node = "h_node", .weight = "fine", .weight_quantizer = "fine"},
                 {.node = "y_node", .weight = "coarse", .weight_quantizer = "coarse"},
                 {.node = "left in float"}};
  std::vector<QuantizerSpec> specs = {SpecOf("fine", 1, 8), SpecOf("coarse", 1, 2)};
  for (QuantizerSpec& spec : specs) spec.target = QuantizerTarget::kWeight;
  const auto probe = ProbeOf(graph, at::tensor({1.0f, -2.0f, 0.5f, 3.0f}).reshape({2, 2}));
  const auto layers = MeasureSensitivity(*probe, graph, plan, specs, specs, [](double) { return absl::OkStatus(); });
  ASSERT_TRUE(layers.ok()) << layers.status();
  ASSERT_EQ(layers->size(), 2u);
  EXPECT_EQ((*layers)[0].node, "y_node");
  EXPECT_EQ((*layers)[0].params, 4);
  EXPECT_GT((*layers)[0].error, 10 * (*layers)[1].error);
  EXPECT_EQ((*layers)[0].error, probe->ErrorOf({specs[1]}).value());
  EXPECT_EQ((*layers)[0].weight_error, (*layers)[0].error);
}

TEST(SensitivityTest, LayerInInt8IsMeasuredWithInputAndOutputAndWithItsWeightAlone) {
  const at::Tensor weight = at::tensor({1.0f, 0.3f, -0.2f, 0.7f}).reshape({2, 2});
  const Graph graph = GraphOf({-1, 2},
                              {Quantized("x"), Quantized("w"), NodeOf("MatMul", {"x_q", "w_q"}, "h"), Quantized("h"),
                               NodeOf("Identity", {"h_q"}, "y")},
                              {{"w", weight}});
  QuantizationPlan plan;
  plan.layers = {{.node = "h_node", .weight = "w", .input_quantizer = "x", .weight_quantizer = "w", .output_quantizer = "h",
                  .compute = LayerCompute::kInt8}};
  std::vector<QuantizerSpec> specs = {SpecOf("x", 3), SpecOf("h", 4), SpecOf("w", 1, 4)}, in_float = {SpecOf("w", 1, 8)};
  specs[2].target = in_float[0].target = QuantizerTarget::kWeight;
  const auto probe = ProbeOf(graph, at::tensor({1.0f, -2.0f, 0.5f, 3.0f}).reshape({2, 2}));
  const auto layers = MeasureSensitivity(*probe, graph, plan, specs, in_float, [](double) { return absl::OkStatus(); });
  ASSERT_TRUE(layers.ok()) << layers.status();
  EXPECT_EQ((*layers)[0].error, probe->ErrorOf(specs).value());
  EXPECT_EQ((*layers)[0].weight_error, probe->ErrorOf(in_float).value());
  EXPECT_LT((*layers)[0].weight_error, 0.1 * (*layers)[0].error);
}

}  // namespace
}  // namespace pactory::quant
