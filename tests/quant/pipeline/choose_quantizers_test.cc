#include "quant/pipeline/choose_quantizers.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>

#include "config/config_rules.h"
#include "quant/data/dataset.h"
#include "quant/pipeline/calibrate.h"

namespace pactory::quant {
namespace {

class RowsDataset : public Dataset {
 public:
  explicit RowsDataset(at::Tensor rows) : rows_(std::move(rows)) {}
  int64_t size() const override { return rows_.size(0); }
  std::vector<int64_t> sample_shape() const override { return {rows_.size(1)}; }
  at::Tensor labels() const override { return {}; }
  absl::StatusOr<Batch> Read(absl::Span<const int64_t> indices) const override {
    const at::Tensor picked = at::tensor(at::ArrayRef<int64_t>(indices.data(), indices.size()), at::kLong);
    return Batch{rows_.index_select(0, picked), {}};
  }

 private:
  at::Tensor rows_;
};

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
  EXPECT_EQ(all->at("s").count(), 150);
  EXPECT_FLOAT_EQ(all->at("s").abs_max(), (rows * 2).abs().max().item<float>());
  const auto some = Calibrate(Scaled(), RowsDataset(rows), {.samples = 10, .batch_size = 8});
  EXPECT_EQ(some->at("s").count(), 30);
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
