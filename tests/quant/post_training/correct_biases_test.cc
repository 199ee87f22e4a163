#include "quant/post_training/correct_biases.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <numeric>

#include "config/config_rules.h"
#include "quant/passes/own_biases.h"
#include "tests/quant/make_graph.h"
#include "tests/quant/rows_dataset.h"

namespace pactory::quant {
namespace {

// A graph quantized at few bits, beside itself in float.
struct ShiftedModels {
  std::unique_ptr<Executor> fp32;
  std::unique_ptr<QuantizedModel> quantized;
  QuantizationPlan plan;
  RowsDataset dataset;

  ShiftedModels(Graph graph, at::Tensor rows, v1::QuantizerMethod activations) : dataset(std::move(rows)) {
    fp32 = *Executor::Create(graph);
    v1::QuantizationConfig config;
    FillDefaults(config);
    config.mutable_activations()->set_method(activations);
    plan = *InsertQuantizers(graph, config);
    std::vector<QuantizerSpec> specs;
    for (const ActivationPlacement& placement : plan.activations) {
      specs.push_back({.id = placement.id, .method = activations, .bits = 8, .threshold = 6});
    }
    for (const WeightPlacement& placement : plan.weights) {
      specs.push_back({.id = placement.id, .method = v1::CHANNEL_ABS_MAX, .bits = 3, .target = QuantizerTarget::kWeight,
                       .channel_axis = placement.channel_axis});
    }
    auto made = QuantizedModel::Create(graph, specs);
    EXPECT_TRUE(made.ok()) << made.status();
    quantized = *std::move(made);
  }

  absl::Status Correct() {
    std::vector<int64_t> order(dataset.size());
    std::iota(order.begin(), order.end(), 0);
    return CorrectBiases(*quantized, *fp32, plan, CalibrationSamples(dataset, order, 16, at::kCPU), nullptr);
  }

  // Largest difference of the means of a value's channels.
  double MeanShift(const std::string& value) {
    std::vector<int64_t> order(dataset.size());
    std::iota(order.begin(), order.end(), 0);
    const at::Tensor x = dataset.Read(order)->inputs[0];
    const auto mean = [](const at::Tensor& v) { return v.detach().to(at::kDouble).movedim(1, 0).flatten(1).mean(1); };
    const at::Tensor shifted = mean(quantized->executor().Fetch({x}, {value})->at(0));
    return (shifted - mean(fp32->Fetch({x}, {value})->at(0))).abs().max().item<double>();
  }
};

TEST(CorrectBiasesTest, OneLayerGetsWhatItsWeightsErrorMakesOfTheMeanInput) {
  at::manual_seed(1);
  const at::Tensor w = at::randn({6, 4}), b = at::randn({4}), x = at::randn({50, 6}) + 2;
  ShiftedModels models(GraphOf({-1, 6}, {NodeOf("Gemm", {"x", "w", "b"}, "y")}, {{"w", w}, {"b", b}}), x, v1::NONE);
  ASSERT_TRUE(models.Correct().ok());
  // Three bits per column, as in the grid's definition.
  const at::Tensor scale = w.abs().amax({0}, true) / 3;
  const at::Tensor error = w - (w / scale).round() * scale;
  const at::Tensor expected = b + at::matmul(x.mean({0}), error);
  EXPECT_TRUE(at::allclose(models.quantized->parameters().at("b"), expected, 1e-4, 1e-5));
}

Graph Chain() {
  return GraphOf({-1, 3, 8, 8},
                 {NodeOf("Conv", {"x", "w1", "b1"}, "c1"), NodeOf("Relu", {"c1"}, "r1"),
                  NodeOf("Conv", {"r1", "w2"}, "c2", {{"group", int64_t{8}}}), NodeOf("HardSwish", {"c2"}, "h2"),
                  NodeOf("Conv", {"h2", "w3", "b3"}, "c3"), NodeOf("GlobalAveragePool", {"c3"}, "p"), NodeOf("Flatten", {"p"}, "f"),
                  NodeOf("Gemm", {"f", "w4"}, "y")},
                 {{"w1", at::randn({8, 3, 3, 3})}, {"b1", at::randn({8})}, {"w2", at::randn({8, 1, 3, 3})},
                  {"w3", at::randn({8, 8, 1, 1}) / 3}, {"b3", at::randn({8})}, {"w4", at::randn({8, 5})}},
                 14);
}

TEST(CorrectBiasesTest, NoLayersMeanIsShiftedAnyMore) {
  at::manual_seed(2);
  Graph graph = Chain();
  ASSERT_TRUE(OwnBiases(graph).ok());
  graph.RemoveDeadCode();
  ShiftedModels models(graph, at::randn({40, 3, 8, 8}) + 0.5, v1::NONE);
  for (const char* value : {"c1", "c2", "c3", "y"}) EXPECT_GT(models.MeanShift(value), 0.02) << value;
  ASSERT_TRUE(models.Correct().ok());
  for (const char* value : {"c1", "c2", "c3", "y"}) EXPECT_LT(models.MeanShift(value), 1e-4) << value;
}

TEST(CorrectBiasesTest, BiasesOnTheGridOfInt8LayersAreCorrectedToARounding) {
  at::manual_seed(3);
  Graph graph = Chain();
  ASSERT_TRUE(OwnBiases(graph).ok());
  graph.RemoveDeadCode();
  ShiftedModels models(graph, at::randn({40, 3, 8, 8}) + 0.5, v1::ABS_MAX);
  EXPECT_GT(models.MeanShift("y"), 0.05);
  ASSERT_TRUE(models.Correct().ok());
  EXPECT_LT(models.MeanShift("y"), 0.01);
}

TEST(CorrectBiasesTest, ABiasOfTwoLayersStays) {
  at::manual_seed(4);
  const at::Tensor b = at::randn({4});
  ShiftedModels models(GraphOf({-1, 4}, {NodeOf("Gemm", {"x", "w1", "b"}, "g"), NodeOf("Gemm", {"g", "w2", "b"}, "y")},
                        {{"w1", at::randn({4, 4})}, {"w2", at::randn({4, 4})}, {"b", b}}),
                at::randn({20, 4}), v1::NONE);
  ASSERT_TRUE(models.Correct().ok());
  EXPECT_TRUE(at::equal(models.quantized->parameters().at("b"), b));
}

}  // namespace
}  // namespace pactory::quant
