#include "quant/evaluation/accuracy.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

namespace pactory::quant {
namespace {

// Values of R's binom::binom.confint(method = "wilson") and of the closed form at 0 and n.
TEST(AccuracyTest, WilsonIntervalMatchesPublishedValues) {
  Interval interval = WilsonInterval95({.right = 81, .total = 263});
  EXPECT_NEAR(interval.low, 0.2553, 5e-5);
  EXPECT_NEAR(interval.high, 0.3662, 5e-5);
  interval = WilsonInterval95({.right = 0, .total = 20});
  EXPECT_NEAR(interval.low, 0, 1e-12);
  EXPECT_NEAR(interval.high, 0.1611, 5e-5);
  interval = WilsonInterval95({.right = 29, .total = 29});
  EXPECT_NEAR(interval.low, 0.8830, 5e-5);
  EXPECT_NEAR(interval.high, 1, 1e-12);
  interval = WilsonInterval95({});
  EXPECT_EQ(interval.low, 0);
  EXPECT_EQ(interval.high, 1);
}

TEST(AccuracyTest, AnswersAreTheLargestOfEachRowAndNeverOfNan) {
  at::Tensor outputs = at::tensor({0.1f, 0.9f, 3.0f, -1.0f, std::nanf(""), 5.0f}).reshape({3, 2});
  EXPECT_TRUE(at::equal(LargestOutputs(outputs), at::tensor({1, 0, -1}, at::kLong)));
}

TEST(AccuracyTest, SequencesAreRightOnlyAsAWhole) {
  at::Tensor a = at::tensor({1, 2, 3, 4}, at::kLong).reshape({2, 2});
  at::Tensor b = at::tensor({1, 2, 3, 5}, at::kLong).reshape({2, 2});
  const auto accuracy = CountEqual(a, b);
  ASSERT_TRUE(accuracy.ok());
  EXPECT_EQ(accuracy->right, 1);
  EXPECT_EQ(accuracy->total, 2);
  EXPECT_DOUBLE_EQ(accuracy->share(), 0.5);
}

TEST(AccuracyTest, DifferentShapesAreRefused) {
  EXPECT_EQ(CountEqual(at::zeros({3}, at::kLong), at::zeros({2}, at::kLong)).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace pactory::quant
