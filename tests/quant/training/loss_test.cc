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
  EXPECT_NEAR(CrossEntropy(logits, at::tensor({0, 1}, at::kLong), 0).item<double>(), expected, 1e-12);
}

TEST(LossTest, LabelSmoothingSpreadsItsShareOverAllClasses) {
  const at::Tensor logits = at::tensor({1.0, 2.0, 0.5}).reshape({1, 3});
  const double normalizer = std::log(std::exp(1.0) + std::exp(2.0) + std::exp(0.5));
  const double expected = (0.7 + 0.1) * (normalizer - 1) + 0.1 * (normalizer - 2) + 0.1 * (normalizer - 0.5);
  EXPECT_NEAR(CrossEntropy(logits, at::tensor({0}, at::kLong), 0.3).item<double>(), expected, 1e-6);
}

TEST(LossTest, RegressionLossesByHand) {
  const at::Tensor output = at::tensor({1.0, -2.0, 3.0, 0.0}).reshape({2, 2}), target = at::tensor({0.0, 0.0, 3.0, 1.0}).reshape({2, 2});
  EXPECT_NEAR(RegressionLoss(v1::TrainingConfig::MSE, output, target)->item<double>(), (1 + 4 + 0 + 1) / 4.0, 1e-6);
  EXPECT_NEAR(RegressionLoss(v1::TrainingConfig::L1, output, target)->item<double>(), (1 + 2 + 0 + 1) / 4.0, 1e-6);
  // A column of targets for an output of one value.
  EXPECT_TRUE(RegressionLoss(v1::TrainingConfig::L1, output.reshape({4, 1}), target.reshape({4})).ok());
  EXPECT_EQ(RegressionLoss(v1::TrainingConfig::L1, output, target.reshape({4, 1})).status().code(), absl::StatusCode::kInvalidArgument);
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
