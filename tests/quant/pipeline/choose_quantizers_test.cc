#include "quant/pipeline/choose_quantizers.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>

#include "config/config_rules.h"
#include "quant/pipeline/calibrate.h"
#include "tests/quant/rows_dataset.h"

namespace pactory::quant {
namespace {

v1::QuantizationConfig Config(v1::QuantizerMethod method) {
  v1::QuantizationConfig config;
  FillDefaults(config);
  config.mutable_activations()->set_method(method);
  config.mutable_calibration()->set_threshold(v1::CalibrationConfig::MAX);
  return config;
}

QuantizationPlan Plan() {
  QuantizationPlan plan;
  plan.activations = {{.id = "relu", .value = "relu", .node = "r", .bits = 4, .sign = Sign::kNonNegative},
                      {.id = "sum", .value = "sum", .node = "s", .bits = 8, .sign = Sign::kAny}};
  plan.weights = {{.id = "w", .value = "w", .node = "c", .bits = 8, .channel_axis = 0}};
  return plan;
}

std::map<std::string, AbsHistogram> Histograms() {
  std::map<std::string, AbsHistogram> histograms;
  histograms["relu"].Observe(at::tensor({0.0f, 3.0f}));
  histograms["sum"].Observe(at::zeros({4}));
  return histograms;
}

TEST(ChooseQuantizersTest, OneSidedPactGivesWayWhereValuesMayBeNegative) {
  const auto specs = ChooseQuantizers(Plan(), Histograms(), Config(v1::PACT));
  ASSERT_TRUE(specs.ok()) << specs.status();
  ASSERT_EQ(specs->size(), 3u);
  EXPECT_EQ((*specs)[0].method, v1::PACT);
  EXPECT_EQ((*specs)[0].bits, 4);
  EXPECT_EQ((*specs)[0].threshold, 3);
  EXPECT_EQ((*specs)[0].signedness, Signedness::kUnsigned);
  EXPECT_EQ((*specs)[1].method, v1::PACT_TWO_SIDED);
  // A tensor of zeros has no range; any will do.
  EXPECT_GT((*specs)[1].threshold, 0);
  EXPECT_EQ((*specs)[2].target, QuantizerTarget::kWeight);
  EXPECT_EQ((*specs)[2].range, v1::WeightConfig::REDUCED);
}

TEST(ChooseQuantizersTest, AlphaInitReplacesTheCalibratedRangeOfLearnedMethodsOnly) {
  v1::QuantizationConfig config = Config(v1::PACT_TWO_SIDED);
  config.mutable_activations()->mutable_alpha()->set_init(20);
  EXPECT_EQ((*ChooseQuantizers(Plan(), Histograms(), config))[0].threshold, 20);
  EXPECT_EQ((*ChooseQuantizers(Plan(), Histograms(), PtqBaseline(config)))[0].threshold, 3);
  EXPECT_EQ((*ChooseQuantizers(Plan(), Histograms(), PlainQatBaseline(config)))[0].method, v1::MOVING_AVERAGE_ABS_MAX);
}

TEST(ChooseQuantizersTest, BaselinesMeasureWeightsAndChangeNoneOfThemBeforehand) {
  v1::QuantizationConfig config = Config(v1::PACT_TWO_SIDED);
  config.mutable_weights()->set_method(v1::CHANNEL_LSQ);
  config.mutable_calibration()->set_bias_correction(true);
  EXPECT_EQ((*ChooseQuantizers(Plan(), Histograms(), config))[2].method, v1::CHANNEL_LSQ);
  for (const v1::QuantizationConfig& baseline : {PtqBaseline(config), PlainQatBaseline(config)}) {
    const auto specs = ChooseQuantizers(Plan(), Histograms(), baseline);
    EXPECT_EQ((*specs)[2].method, v1::ABS_MAX);
    EXPECT_EQ((*specs)[2].channel_axis, 0);
    EXPECT_FALSE(baseline.calibration().bias_correction());
  }
}

TEST(ChooseQuantizersTest, OverridesOfMethodsHoldForTheModelAndNotForItsBaselines) {
  QuantizationPlan plan = Plan();
  plan.activations[1].override_method = v1::LSQ_PLUS;
  plan.weights[0].override_method = v1::LSQ;
  plan.weights[0].range = v1::WeightConfig::REDUCED;
  plan.weights[0].override_range = v1::WeightConfig::FULL;
  v1::QuantizationConfig config = Config(v1::PACT);
  config.add_overrides();
  const auto specs = ChooseQuantizers(plan, Histograms(), config);
  ASSERT_TRUE(specs.ok()) << specs.status();
  EXPECT_EQ((*specs)[0].method, v1::PACT);
  EXPECT_EQ((*specs)[1].method, v1::LSQ_PLUS);
  EXPECT_EQ((*specs)[2].method, v1::LSQ);
  EXPECT_EQ((*specs)[2].range, v1::WeightConfig::FULL);
  const auto ptq = ChooseQuantizers(plan, Histograms(), PtqBaseline(config));
  EXPECT_EQ((*ptq)[1].method, v1::ABS_MAX);
  EXPECT_EQ((*ptq)[2].method, v1::ABS_MAX);
  EXPECT_EQ((*ChooseQuantizers(plan, Histograms(), PlainQatBaseline(config)))[1].method, v1::MOVING_AVERAGE_ABS_MAX);
}

TEST(ChooseQuantizersTest, UnmeasuredActivationsAreAFault) {
  EXPECT_EQ(ChooseQuantizers(Plan(), {}, Config(v1::PACT)).status().code(), absl::StatusCode::kInternal);
}

Graph Scaled() {
  Graph graph;
  graph.opsets[""] = 13;
  graph.inputs = {{.name = "x", .dims = {-1, 3}}};
  graph.outputs = {{.name = "y", .dims = {-1, 3}}};
  graph.initializers["two"] = at::full({1}, 2.0f);
  Node scale, quantizer, relu;
  scale.name = "scale";
  scale.op_type = "Mul";
  scale.inputs = {"x", "two"};
  scale.outputs = {"s"};
  quantizer.name = "q";
  quantizer.domain = "pactory";
  quantizer.op_type = "FakeQuantize";
  quantizer.inputs = {"s"};
  quantizer.outputs = {"s_q"};
  quantizer.attributes["quantizer"] = std::string("s");
  relu.name = "relu";
  relu.op_type = "Relu";
  relu.inputs = {"s_q"};
  relu.outputs = {"y"};
  graph.nodes = {scale, quantizer, relu};
  return graph;
}

TEST(CalibrateTest, HistogramsSeeTheFloatValuesOfTheAskedSamples) {
  at::Tensor rows = at::rand({50, 3}) - 0.5;
  const auto all = Calibrate(Scaled(), RowsDataset(rows), {.samples = 100, .batch_size = 8});
  ASSERT_TRUE(all.ok()) << all.status();
  EXPECT_EQ(all->histograms.at("s").count(), 150);
  EXPECT_FLOAT_EQ(all->histograms.at("s").abs_max(), (rows * 2).abs().max().item<float>());
  EXPECT_EQ(all->traces.at("s").batches(), 7);
  EXPECT_EQ(all->traces.at("s").largest_sample(), rows.abs().amax({1}).argmax().item<int64_t>());
  const auto some = Calibrate(Scaled(), RowsDataset(rows), {.samples = 10, .batch_size = 8});
  EXPECT_EQ(some->histograms.at("s").count(), 30);
}

TEST(CalibrateTest, ValuesThatAreNotFiniteAreNamed) {
  at::Tensor rows = at::rand({4, 3});
  rows[2][1] = std::numeric_limits<float>::infinity();
  const auto result = Calibrate(Scaled(), RowsDataset(rows), {});
  EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(result.status().message().find("value=s"), std::string::npos) << result.status();
}

}  // namespace
}  // namespace pactory::quant
