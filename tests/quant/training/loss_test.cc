#include "quant/training/loss.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"

namespace pactory::quant {
namespace {

TEST(LossTest, CrossEntropyByHand) {
  at::Tensor logits = at::tensor({1.0, 2.0, 0.0, 0.0}).reshape({2, 2});
  const double expected = 0.5 * (std::log(1 + std::exp(1.0)) + std::log(2.0));
  EXPECT_NEAR(TrainingLoss({.task = 2}, logits, at::tensor({0, 1}, at::kLong), {}).item<double>(), 2 * expected, 1e-12);
}

TEST(LossTest, DistillationIsTheDivergenceByHandAndZeroForTheTeacherItself) {
  at::Tensor teacher = at::tensor({std::log(0.75), std::log(0.25)}).reshape({1, 2});
  at::Tensor student = at::zeros({1, 2}, at::kDouble);
  const double expected = 0.75 * std::log(0.75 / 0.5) + 0.25 * std::log(0.25 / 0.5);
  EXPECT_NEAR(TrainingLoss({.distillation = 1}, student, {}, teacher).item<double>(), expected, 1e-12);
  EXPECT_NEAR(TrainingLoss({.distillation = 1, .temperature = 3}, teacher, {}, teacher).item<double>(), 0, 1e-12);
}

TEST(LossTest, DistillationGradientIsTheDifferenceOfProbabilities) {
  for (double t : {1.0, 4.0}) {
    at::Tensor student = at::randn({3, 5}, at::kDouble).requires_grad_(true);
    at::Tensor teacher = at::randn({3, 5}, at::kDouble);
    TrainingLoss({.distillation = 1, .temperature = t}, student, {}, teacher).backward();
    const at::Tensor expected = (at::softmax(student.detach() / t, -1) - at::softmax(teacher / t, -1)) * t / 3;
    EXPECT_TRUE(at::allclose(student.grad(), expected)) << t;
  }
}

TEST(LossTest, TaskWeightDefaultsToOneOnlyWithLabels) {
  v1::TrainingConfig config;
  config.set_distillation_loss_weight(0.5);
  config.set_distillation_temperature(2);
  EXPECT_EQ(ReadLossWeights(config, Labels::kPresent)->task, 1);
  EXPECT_EQ(ReadLossWeights(config, Labels::kAbsent)->task, 0);
  config.set_task_loss_weight(1);
  EXPECT_EQ(FieldOf(ReadLossWeights(config, Labels::kAbsent).status()), "training.task_loss_weight");
  config.clear_task_loss_weight();
  config.set_distillation_loss_weight(0);
  EXPECT_EQ(FieldOf(ReadLossWeights(config, Labels::kAbsent).status()), "training.distillation_loss_weight");
}

}  // namespace
}  // namespace pactory::quant
