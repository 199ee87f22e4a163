#include "quant/observers/histogram.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

namespace pactory::quant {
namespace {

TEST(AbsHistogramTest, CountsEveryValueOnceWhileTheRangeGrows) {
  AbsHistogram histogram;
  at::Tensor all = at::randn({7, 1000});
  for (int64_t i = 0; i < 7; ++i) {
    all[i].mul_(std::pow(3.0, i));
    histogram.Observe(all[i]);
  }
  EXPECT_EQ(histogram.count(), 7000);
  EXPECT_EQ(std::accumulate(histogram.bins().begin(), histogram.bins().end(), int64_t{0}), 7000);
  EXPECT_FLOAT_EQ(histogram.abs_max(), all.abs().max().item<float>());
  EXPECT_GE(histogram.range(), histogram.abs_max());
}

TEST(AbsHistogramTest, OrderOfBatchesDoesNotMatter) {
  at::Tensor small = at::rand({500}) * 0.01;
  at::Tensor large = at::rand({500}) * 77;
  AbsHistogram up, down;
  up.Observe(small);
  up.Observe(large);
  down.Observe(large);
  down.Observe(small);
  EXPECT_EQ(up.range(), down.range());
  EXPECT_EQ(up.bins(), down.bins());
}

TEST(AbsHistogramTest, BinsAgreeWithDirectCounting) {
  AbsHistogram histogram;
  at::Tensor x = at::randn({20000});
  histogram.Observe(x.slice(0, 0, 100));
  histogram.Observe(x.slice(0, 100));
  const double edge = histogram.range() / 2;
  int64_t below = 0;
  for (int i = 0; i < AbsHistogram::kBins / 2; ++i) below += histogram.bins()[i];
  EXPECT_EQ(below, x.abs().lt(edge).sum().item<int64_t>());
}

TEST(AbsHistogramTest, KnowsWhetherValuesWereNegative) {
  AbsHistogram positive, negative;
  positive.Observe(at::rand({10}));
  negative.Observe(at::tensor({0.5f, -0.001f}));
  EXPECT_EQ(positive.min(), 0);
  EXPECT_LT(negative.min(), 0);
}

TEST(AbsHistogramTest, ZerosAndNonFiniteValues) {
  AbsHistogram histogram;
  histogram.Observe(at::zeros({5}));
  EXPECT_EQ(histogram.abs_max(), 0);
  histogram.Observe(at::tensor({1.0f, std::numeric_limits<float>::infinity(), std::nanf("")}));
  EXPECT_EQ(histogram.count(), 6);
  EXPECT_EQ(histogram.non_finite_count(), 2);
  EXPECT_EQ(histogram.bins()[0], 5);
  EXPECT_EQ(histogram.abs_max(), 1);
}

}  // namespace
}  // namespace pactory::quant
