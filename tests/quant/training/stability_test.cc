#include "quant/training/stability.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace pactory::quant {
namespace {

bool ExplodesAfter(const std::vector<double>& losses, double factor = 10, double negligible = 0.05) {
  LossWatch watch(factor, negligible);
  bool exploded = false;
  for (const double loss : losses) {
    watch.Add(loss);
    exploded = exploded || watch.exploding();
  }
  return exploded;
}

// `first` for 20 steps, then `then` for `count`.
std::vector<double> Losses(double first, double then, int count = 20) {
  std::vector<double> losses(20, first);
  losses.insert(losses.end(), static_cast<size_t>(count), then);
  return losses;
}

TEST(LossWatchTest, TenTimesTheLeastMedianExplodes) {
  EXPECT_TRUE(ExplodesAfter(Losses(0.1, 1.1)));
  EXPECT_FALSE(ExplodesAfter(Losses(0.1, 0.9)));
  EXPECT_FALSE(ExplodesAfter(Losses(0.1, 1.1), 0));
}

TEST(LossWatchTest, FewBadBatchesAreNoExplosion) {
  EXPECT_FALSE(ExplodesAfter(Losses(0.1, 100, 7)));
  EXPECT_TRUE(ExplodesAfter(Losses(0.1, 100, 9)));
}

TEST(LossWatchTest, LossThatFellFarMayRiseAgainBelowItsStart) {
  std::vector<double> losses = Losses(2, 0.01);
  losses.insert(losses.end(), 20, 1.0);
  EXPECT_FALSE(ExplodesAfter(losses));
  losses.insert(losses.end(), 20, 3.0);
  EXPECT_TRUE(ExplodesAfter(losses));
}

TEST(LossWatchTest, MultiplesOfNextToNothingAreNothing) {
  EXPECT_FALSE(ExplodesAfter(Losses(1e-5, 1e-2)));
}

TEST(LossWatchTest, ResetKnowsNoMoreThanTheStepsItIsGiven) {
  LossWatch watch(10, 0.05), fresh(10, 0.05);
  std::vector<StepRecord> steps;
  for (int i = 0; i < 20; ++i) steps.push_back({.step = i + 1, .loss = 0.1});
  for (const double loss : Losses(0.1, 5)) watch.Add(loss);
  EXPECT_TRUE(watch.exploding());
  EXPECT_TRUE(watch.suspicious());
  watch.Reset(steps);
  EXPECT_FALSE(watch.exploding());
  EXPECT_FALSE(watch.suspicious());
  watch.Add(5);
  EXPECT_FALSE(watch.exploding());
  EXPECT_TRUE(watch.suspicious());
}

TEST(RangeFaultTest, DeadAndRunawayRangesAreTold) {
  at::Tensor tensor = at::ones({1});
  const auto fault = [&](double value, double start = 2) {
    tensor.fill_(value);
    return RangeFault({.name = "alpha", .tensor = &tensor, .start = start, .unit = 2});
  };
  EXPECT_EQ(fault(2), "");
  EXPECT_EQ(fault(0.01), "");
  EXPECT_NE(fault(0.002), "");
  EXPECT_EQ(fault(199), "");
  EXPECT_NE(fault(201), "");
  // The lower end of a range.
  EXPECT_EQ(fault(0, -1), "");
  EXPECT_NE(fault(-201, -1), "");
  tensor = at::tensor({1.0f, 0.0f, 1.0f});
  EXPECT_NE(RangeFault({.name = "range", .tensor = &tensor, .start = 1}), "") << "one channel of three";
}

}  // namespace
}  // namespace pactory::quant
