#include "quant/training/optimizer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace pactory::quant {
namespace {

OptimizerSpec Spec(v1::TrainingConfig::Optimizer kind) { return {.kind = kind, .momentum = 0.9}; }

at::Tensor Leaf(std::vector<float> values) { return at::tensor(values).requires_grad_(true); }

TEST(OptimizerTest, AdamsDecayIsInTheGradientAndAdamWsBesideIt) {
  for (const auto kind : {v1::TrainingConfig::ADAM, v1::TrainingConfig::ADAMW}) {
    at::Tensor p = Leaf({1.0f});
    auto optimizer = MakeOptimizer(Spec(kind), {{.parameters = {{"p", p}}, .weight_decay = 0.1}});
    double value = 1.0, m = 0, v = 0;
    const double gradients[] = {0.3, -2.0, 0.05};
    for (int t = 1; t <= 3; ++t) {
      double g = gradients[t - 1];
      p.mutable_grad() = at::tensor({static_cast<float>(g)});
      optimizer->Step(0.01);
      if (kind == v1::TrainingConfig::ADAM) g += 0.1 * value;
      if (kind == v1::TrainingConfig::ADAMW) value -= 0.01 * 0.1 * value;
      m = 0.9 * m + 0.1 * g;
      v = 0.999 * v + 0.001 * g * g;
      value -= 0.01 * (m / (1 - std::pow(0.9, t))) / (std::sqrt(v / (1 - std::pow(0.999, t))) + 1e-8);
      EXPECT_NEAR(p.item<float>(), value, 1e-6) << kind << " " << t;
    }
  }
}

TEST(OptimizerTest, UnitScalesTheStepAndNotTheDecay) {
  at::Tensor p = Leaf({1.0f});
  auto optimizer = MakeOptimizer(Spec(v1::TrainingConfig::ADAMW),
                                 {{.parameters = {{"p", p}}, .rate_multiplier = 2, .unit = 5, .weight_decay = 0.1}});
  p.mutable_grad() = at::tensor({3.0f});
  optimizer->Step(0.01);
  // The first step of Adam has the size of its rate.
  EXPECT_NEAR(p.item<float>(), 1 * (1 - 0.01 * 2 * 0.1) - 0.01 * 2 * 5, 1e-6);
}

TEST(OptimizerTest, NesterovsMomentumLooksAhead) {
  at::Tensor p = Leaf({2.0f});
  OptimizerSpec spec = Spec(v1::TrainingConfig::SGD);
  spec.form = OptimizerSpec::Momentum::kNesterov;
  auto optimizer = MakeOptimizer(spec, {{.parameters = {{"p", p}}, .weight_decay = 0.5}});
  p.mutable_grad() = at::tensor({1.0f});
  optimizer->Step(0.1);
  // g = 1 + 0.5 * 2 = 2, v = 2, step g + 0.9 v = 3.8
  EXPECT_NEAR(p.item<float>(), 2 - 0.38, 1e-6);
  p.mutable_grad() = at::tensor({1.0f});
  optimizer->Step(0.1);
  // g = 1 + 0.5 * 1.62 = 1.81, v = 0.9 * 2 + 1.81 = 3.61, step 1.81 + 0.9 * 3.61
  EXPECT_NEAR(p.item<float>(), 1.62 - 0.1 * (1.81 + 0.9 * 3.61), 1e-6);
}

TEST(OptimizerTest, HeldParametersStay) {
  at::Tensor p = Leaf({1.0f}), q = Leaf({1.0f});
  auto optimizer = MakeOptimizer(Spec(v1::TrainingConfig::ADAMW), {{.parameters = {{"p", p}, {"q", q}}, .weight_decay = 0.1}});
  optimizer->Hold("p");
  for (at::Tensor* tensor : {&p, &q}) tensor->mutable_grad() = at::tensor({1.0f});
  optimizer->Step(0.1);
  EXPECT_EQ(p.item<float>(), 1);
  EXPECT_LT(q.item<float>(), 1);
}

TEST(OptimizerTest, RangesTakeTheWeightsOptimizerUnlessTheyHaveTheirOwn) {
  v1::TrainingConfig training;
  training.set_optimizer(v1::TrainingConfig::ADAMW);
  training.set_momentum(0.8);
  v1::AlphaConfig alpha;
  EXPECT_EQ(RangeOptimizer(training, alpha).kind, v1::TrainingConfig::ADAMW);
  EXPECT_EQ(RangeOptimizer(training, alpha).momentum, 0.8);
  alpha.set_optimizer(v1::TrainingConfig::SGD);
  alpha.set_momentum(0);
  EXPECT_EQ(RangeOptimizer(training, alpha).kind, v1::TrainingConfig::SGD);
  EXPECT_EQ(RangeOptimizer(training, alpha).momentum, 0);
}

TEST(OptimizerTest, SgdAddsMomentumAndPenalty) {
  at::Tensor p = Leaf({2.0f});
  auto optimizer =
      MakeOptimizer(Spec(v1::TrainingConfig::SGD), {{.parameters = {{"p", p}}, .rate_multiplier = 10, .l2 = 0.5}});
  p.mutable_grad() = at::tensor({1.0f});
  optimizer->Step(0.01);
  // g = 1 + 0.5 * 2 = 2; p = 2 - 0.1 * 2
  EXPECT_FLOAT_EQ(p.item<float>(), 1.8f);
  p.mutable_grad() = at::tensor({1.0f});
  optimizer->Step(0.01);
  // v = 0.9 * 2 + 1 + 0.5 * 1.8 = 3.7
  EXPECT_NEAR(p.item<float>(), 1.8f - 0.37f, 1e-6);
}

TEST(OptimizerTest, NormCoversEveryGroupAndScalingChangesIt) {
  at::Tensor a = Leaf({0.0f, 0.0f}), b = Leaf({0.0f}), without = Leaf({0.0f});
  auto optimizer = MakeOptimizer(Spec(v1::TrainingConfig::ADAM),
                                 {{.parameters = {{"a", a}, {"without", without}}}, {.parameters = {{"b", b}}}});
  a.mutable_grad() = at::tensor({1.0f, 2.0f});
  b.mutable_grad() = at::tensor({2.0f});
  EXPECT_DOUBLE_EQ(optimizer->GradientNorm(), 3.0);
  optimizer->ScaleGradients(0.5);
  EXPECT_DOUBLE_EQ(optimizer->GradientNorm(), 1.5);
  b.mutable_grad().fill_(std::numeric_limits<float>::quiet_NaN());
  EXPECT_TRUE(std::isnan(optimizer->GradientNorm()));
  optimizer->ZeroGradients();
  EXPECT_EQ(optimizer->GradientNorm(), 0);
}

TEST(OptimizerTest, StateCarriesOverToAnEqualOptimizer) {
  for (const auto kind : {v1::TrainingConfig::ADAM, v1::TrainingConfig::ADAMW, v1::TrainingConfig::SGD}) {
    at::Tensor p = Leaf({1.0f, -1.0f});
    auto optimizer = MakeOptimizer(Spec(kind), {{.parameters = {{"p", p}}}});
    const auto step = [](Optimizer& target, at::Tensor& parameter, float g) {
      parameter.mutable_grad() = at::tensor({g, 2 * g});
      target.Step(0.1);
    };
    step(*optimizer, p, 1.0f);
    step(*optimizer, p, 0.1f);
    at::Tensor copy = p.detach().clone().requires_grad_(true);
    auto other = MakeOptimizer(Spec(kind), {{.parameters = {{"p", copy}}}});
    auto from = optimizer->State();
    for (auto& [name, tensor] : other->State()) tensor.copy_(from.at(name));
    step(*optimizer, p, -3.0f);
    step(*other, copy, -3.0f);
    EXPECT_TRUE(at::equal(p, copy));
  }
}

}  // namespace
}  // namespace pactory::quant
