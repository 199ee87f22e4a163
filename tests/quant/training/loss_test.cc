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
  EXPECT_NEAR(TargetLoss(v1::TrainingConfig::MSE, output, target)->item<double>(), (1 + 4 + 0 + 1) / 4.0, 1e-6);
  EXPECT_NEAR(TargetLoss(v1::TrainingConfig::L1, output, target)->item<double>(), (1 + 2 + 0 + 1) / 4.0, 1e-6);
  // A column of targets for an output of one value.
  EXPECT_TRUE(TargetLoss(v1::TrainingConfig::L1, output.reshape({4, 1}), target.reshape({4})).ok());
  EXPECT_EQ(TargetLoss(v1::TrainingConfig::L1, output, target.reshape({4, 1})).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(LossTest, CtcSumsAllWaysToWriteALine) {
  // Two steps, classes blank, 1 and 2; each step's probabilities.
  const at::Tensor p = at::tensor({0.5, 0.3, 0.2, 0.1, 0.6, 0.3}).reshape({1, 2, 3});
  const auto loss = [&](std::vector<int64_t> labels) {
    return CtcLoss(p.log(), at::tensor(labels, at::kLong).reshape({1, 2})).value().item<double>();
  };
  // 1 is written as `1 1`, `1 -` and `- 1`.
  EXPECT_NEAR(loss({1, -1}), -std::log(0.3 * 0.6 + 0.3 * 0.1 + 0.5 * 0.6), 1e-6);
  EXPECT_NEAR(loss({1, 2}), -std::log(0.3 * 0.3) / 2, 1e-6);
  EXPECT_NEAR(loss({-1, -1}), -std::log(0.5 * 0.1), 1e-6);
  // A blank must part equal labels.
  EXPECT_EQ(loss({1, 1}), 0);
}

TEST(LossTest, CtcOfSeveralLinesIsTheirMean) {
  const at::Tensor logits = at::randn({3, 7, 5}).requires_grad_(true);
  const at::Tensor labels = at::tensor({1, 2, 2, 4, -1, -1, 3, 3, 3}, at::kLong).reshape({3, 3});
  double sum = 0;
  for (int64_t i = 0; i < 3; ++i) sum += CtcLoss(logits.slice(0, i, i + 1), labels.slice(0, i, i + 1)).value().item<double>();
  const at::Tensor loss = CtcLoss(logits, labels).value();
  EXPECT_NEAR(loss.item<double>(), sum / 3, 1e-5);
  loss.backward();
  EXPECT_GT(logits.grad().abs().sum().item<double>(), 0);
}

TEST(LossTest, CtcRefusesLabelsThatAreNoClassAndOtherForms) {
  const at::Tensor logits = at::zeros({1, 4, 3});
  for (const int64_t label : {0, 3, 99}) {
    EXPECT_EQ(CtcLoss(logits, at::full({1, 2}, label, at::kLong)).status().code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(CtcLoss(at::zeros({1, 4}), at::ones({1, 2}, at::kLong)).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CtcLoss(logits, at::ones({1}, at::kLong)).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(LossTest, DiceByHand) {
  const at::Tensor output = at::tensor({0.5, 1.0, 0.0, 0.0, 0.0, 0.0}).reshape({2, 1, 1, 3});
  const at::Tensor mask = at::tensor({1, 1, 0, 0, 0, 0}).reshape({2, 3});
  // (1 - (2 * 1.5 + 1) / (2 + 1.5 + 1) + 0) / 2.
  EXPECT_NEAR(TargetLoss(v1::TrainingConfig::DICE, output, mask)->item<double>(), (1 - 4 / 4.5) / 2, 1e-6);
  EXPECT_EQ(DiceLoss(output, mask.slice(1, 0, 2)).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(LossTest, EachLossHasItsTargets) {
  Graph graph;
  graph.outputs = {{.name = "a"}, {.name = "b"}};
  v1::TrainingConfig config;
  const auto names = [&](v1::TrainingConfig::TaskLoss loss) {
    config.set_task_loss(loss);
    return TargetNames(config, graph);
  };
  EXPECT_EQ(names(v1::TrainingConfig::MSE), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(names(v1::TrainingConfig::DICE), (std::vector<std::string>{"a"}));
  EXPECT_TRUE(names(v1::TrainingConfig::CTC).empty());
  EXPECT_TRUE(names(v1::TrainingConfig::CROSS_ENTROPY).empty());
}

TEST(LossTest, TaskWeightDefaultsToOneOnlyWithLabels) {
  v1::TrainingConfig config;
  config.set_distillation_loss_weight(0.5);
  config.set_distillation_temperature(2);
  EXPECT_EQ(ReadLossWeights(config, Labels::kPresent)->task, 1);
  EXPECT_EQ(ReadLossWeights(config, Labels::kAbsent)->task, 0);
  for (const auto loss : {v1::TrainingConfig::CTC, v1::TrainingConfig::DICE}) {
    v1::TrainingConfig asked = config;
    asked.set_task_loss(loss);
    EXPECT_EQ(FieldOf(ReadLossWeights(asked, Labels::kAbsent).status()), "training.task_loss_weight");
    asked.set_task_loss_weight(0);
    EXPECT_EQ(ReadLossWeights(asked, Labels::kAbsent)->task, 0);
  }
  config.set_task_loss_weight(1);
  EXPECT_EQ(FieldOf(ReadLossWeights(config, Labels::kAbsent).status()), "training.task_loss_weight");
  config.clear_task_loss_weight();
  config.set_distillation_loss_weight(0);
  EXPECT_EQ(FieldOf(ReadLossWeights(config, Labels::kAbsent).status()), "training.distillation_loss_weight");
}

}  // namespace
}  // namespace pactory::quant
