#include "quant/training/schedule.h"

#include <gtest/gtest.h>

namespace pactory::quant {
namespace {

v1::TrainingConfig Config(int steps, int warmup, v1::TrainingConfig::Schedule schedule) {
  v1::TrainingConfig config;
  config.set_steps(steps);
  config.set_warmup_steps(warmup);
  config.set_schedule(schedule);
  config.set_learning_rate(2.0);
  return config;
}

TEST(ScheduleTest, WarmUpRisesLinearlyToThePeak) {
  const auto config = Config(100, 4, v1::TrainingConfig::CONSTANT);
  EXPECT_DOUBLE_EQ(LearningRate(config, 0), 0.5);
  EXPECT_DOUBLE_EQ(LearningRate(config, 1), 1.0);
  EXPECT_DOUBLE_EQ(LearningRate(config, 3), 2.0);
  EXPECT_DOUBLE_EQ(LearningRate(config, 99), 2.0);
}

TEST(ScheduleTest, CosineFallsFromThePeakThroughHalfToZero) {
  const auto config = Config(110, 10, v1::TrainingConfig::COSINE);
  EXPECT_DOUBLE_EQ(LearningRate(config, 10), 2.0);
  EXPECT_NEAR(LearningRate(config, 60), 1.0, 1e-12);
  EXPECT_NEAR(LearningRate(config, 109), 0, 1e-3);
}

TEST(ScheduleTest, StepFallsByItsFactorAfterTheWarmUp) {
  auto config = Config(100, 10, v1::TrainingConfig::STEP);
  config.set_schedule_every(30);
  config.set_schedule_factor(0.5);
  EXPECT_DOUBLE_EQ(LearningRate(config, 10), 2.0);
  EXPECT_DOUBLE_EQ(LearningRate(config, 39), 2.0);
  EXPECT_DOUBLE_EQ(LearningRate(config, 40), 1.0);
  EXPECT_DOUBLE_EQ(LearningRate(config, 99), 0.5);
}

TEST(ScheduleTest, WarmUpMayFillAllSteps) {
  EXPECT_DOUBLE_EQ(LearningRate(Config(5, 5, v1::TrainingConfig::COSINE), 5), 2.0);
}

}  // namespace
}  // namespace pactory::quant
