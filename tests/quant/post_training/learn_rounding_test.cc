#include "quant/post_training/learn_rounding.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "config/config_rules.h"
#include "quant/post_training/rounded_weight.h"
#include "tests/quant/make_graph.h"
#include "tests/quant/rows_dataset.h"

namespace pactory::quant {
namespace {

TEST(RoundedWeightTest, StartsAtTheWeightAndEndsOnNeighbouringValuesOfTheGrid) {
  at::manual_seed(1);
  const at::Tensor w = at::randn({4, 30}), scales = w.abs().amax({1}) / 7;
  RoundedWeight rounded(w, scales, 0, 7);
  EXPECT_TRUE(at::allclose(rounded.Soft().detach(), w, 1e-4, 1e-6));
  rounded.variable().detach().normal_();
  const at::Tensor steps = rounded.Hard() / scales.unsqueeze(1);
  EXPECT_TRUE(at::allclose(steps, steps.round(), 0, 1e-4));
  EXPECT_LT((rounded.Hard() / scales.unsqueeze(1) - w / scales.unsqueeze(1)).abs().max().item<double>(), 1.0001);
  EXPECT_LE(steps.abs().max().item<double>(), 7.0001);
}

TEST(RoundedWeightTest, ValuesAndGradientsFollowThePublishedEquations) {
  at::manual_seed(2);
  const at::Tensor w = at::randn({50}), upstream = at::randn({50});
  const double s = 0.3;
  RoundedWeight rounded(w, at::full({1}, s, at::kFloat), -1, 3);
  rounded.variable().detach().copy_(at::randn({50}) * 3);
  ((rounded.Soft() * upstream).sum() + rounded.Undecided(4)).backward();
  for (int64_t i = 0; i < 50; ++i) {
    const auto objective = [&](double v) {
      const double h = std::clamp(1.2 / (1 + std::exp(-v)) - 0.1, 0.0, 1.0);
      const double integer = std::clamp(std::floor(w[i].item<double>() / s) + h, -3.0, 3.0);
      return integer * s * upstream[i].item<double>() + 1 - std::pow(std::fabs(2 * h - 1), 4);
    };
    const double v = rounded.variable()[i].item<double>();
    const double expected = (objective(v + 1e-5) - objective(v - 1e-5)) / 2e-5;
    EXPECT_NEAR(rounded.variable().grad()[i].item<double>(), expected, 1e-3) << i;
  }
}

struct RoundedModels {
  std::unique_ptr<Executor> fp32;
  std::unique_ptr<QuantizedModel> quantized;
  QuantizationPlan plan;
  RowsDataset dataset;
  v1::AdaRoundConfig config;

  RoundedModels(Graph graph, at::Tensor rows, int bits) : dataset(std::move(rows)) {
    fp32 = *Executor::Create(graph);
    v1::QuantizationConfig defaults;
    defaults.mutable_weights()->set_rounding(v1::WeightConfig::ADAROUND);
    FillDefaults(defaults);
    defaults.mutable_activations()->set_method(v1::NONE);
    config = defaults.weights().adaround();
    plan = *InsertQuantizers(graph, defaults);
    std::vector<QuantizerSpec> specs;
    for (const WeightPlacement& placement : plan.weights) {
      specs.push_back({.id = placement.id, .method = v1::CHANNEL_MSE, .bits = bits, .target = QuantizerTarget::kWeight,
                       .channel_axis = placement.channel_axis});
    }
    auto made = QuantizedModel::Create(graph, specs);
    EXPECT_TRUE(made.ok()) << made.status();
    quantized = *std::move(made);
  }

  absl::Status Learn() {
    std::vector<int64_t> order(dataset.size());
    std::iota(order.begin(), order.end(), 0);
    return LearnRounding(*quantized, *fp32, plan, CalibrationSamples(dataset, order, 32, at::kCPU), config, 1, nullptr);
  }

  double OutputError() {
    std::vector<int64_t> order(dataset.size());
    std::iota(order.begin(), order.end(), 0);
    const at::Tensor x = dataset.Read(order)->inputs[0];
    return (quantized->executor().Run({x})->at(0) - fp32->Run({x})->at(0)).square().mean().item<double>();
  }
};

TEST(LearnRoundingTest, ComesNearTheBestOfAllRoundings) {
  at::manual_seed(3);
  constexpr int kWeights = 8, kColumns = 24;
  // Inputs that rise and fall together, as neighbouring pixels do: it matters which weights go up together.
  const at::Tensor x = at::randn({64, 1}) + 0.3 * at::randn({64, kWeights});
  const at::Tensor w = at::randn({kWeights, kColumns});
  RoundedModels models(GraphOf({-1, kWeights}, {NodeOf("MatMul", {"x", "w"}, "y")}, {{"w", w}}), x, 3);
  models.config.set_steps(2000);
  const at::Tensor steps = w / models.quantized->Find("w")->Scales(w);
  // By brute force, for each column.
  at::Tensor best = at::full({kColumns}, std::numeric_limits<double>::infinity());
  for (int up = 0; up < 1 << kWeights; ++up) {
    at::Tensor rounded = steps.floor();
    for (int i = 0; i < kWeights; ++i) rounded[i] += (up >> i) & 1;
    const at::Tensor error = at::matmul(x, (rounded.clamp(-3, 3) - steps) * models.quantized->Find("w")->Scales(w));
    best = at::minimum(best, error.square().mean({0}));
  }
  const double least = best.mean().item<double>();
  EXPECT_GT(models.OutputError(), 2.5 * least);
  ASSERT_TRUE(models.Learn().ok());
  EXPECT_LT(models.OutputError(), 1.3 * least);
}

TEST(LearnRoundingTest, ANetKeepsItsOutputsBetterThanByNearestRounding) {
  at::manual_seed(4);
  Graph graph = GraphOf({-1, 4, 8, 8},
                        {NodeOf("Conv", {"x", "w1", "b1"}, "c1"), NodeOf("Relu", {"c1"}, "r1"),
                         NodeOf("Conv", {"r1", "w2"}, "c2", {{"group", int64_t{8}}}), NodeOf("HardSwish", {"c2"}, "h2"),
                         NodeOf("Conv", {"h2", "w3", "b3"}, "y")},
                        {{"w1", at::randn({8, 4, 3, 3}) / 6}, {"b1", at::randn({8})}, {"w2", at::randn({8, 1, 3, 3}) / 3},
                         {"w3", at::randn({6, 8, 1, 1}) / 3}, {"b3", at::randn({6})}},
                        14);
  at::Tensor x = at::avg_pool2d(at::randn({64, 4, 16, 16}), {9, 9}, {1, 1}) * 5;
  RoundedModels models(graph, x, 3);
  models.config.set_steps(300);
  const double nearest = models.OutputError();
  ASSERT_TRUE(models.Learn().ok());
  EXPECT_LT(models.OutputError(), 0.5 * nearest);
  for (const auto& quantizer : models.quantized->quantizers()) {
    const at::Tensor& weight = models.quantized->parameters().at(quantizer->spec().id);
    // What is stored is what was learned: quantizing it again changes nothing.
    EXPECT_TRUE(at::equal(quantizer->Apply(weight), weight)) << quantizer->spec().id;
  }
}

TEST(LearnRoundingTest, EndsWhenAskedTo) {
  at::manual_seed(5);
  RoundedModels models(GraphOf({-1, 4}, {NodeOf("MatMul", {"x", "w"}, "y")}, {{"w", at::randn({4, 2})}}), at::randn({10, 4}), 4);
  const auto stop = [](double) { return absl::CancelledError("enough"); };
  EXPECT_EQ(LearnRounding(*models.quantized, *models.fp32, models.plan, CalibrationSamples(models.dataset, {0, 1, 2}, 2, at::kCPU),
                          models.config, 1, stop)
                .code(),
            absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace pactory::quant
