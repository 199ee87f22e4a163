#include "quant/observers/range_trace.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

namespace pactory::quant {
namespace {

TEST(RangeTraceTest, KnowsWhenTheRangeWasSettledAndWhoseItIs) {
  RangeTrace trace;
  EXPECT_EQ(trace.BatchesUntilStable(), 0);
  // Largest values of four batches of two samples.
  const double largest[][2] = {{1, 2}, {9.95, 3}, {4, -10}, {10, 5}};
  for (int64_t batch = 0; batch < 4; ++batch) {
    at::Tensor x = at::zeros({2, 3, 2});
    x[0][1][1] = largest[batch][0];
    x[1][2][0] = largest[batch][1];
    trace.Observe(x, {100 + 2 * batch, 101 + 2 * batch});
  }
  EXPECT_EQ(trace.batches(), 4);
  // 9.95 of the second batch is within 1 % of 10, which the second sample of the third brings first.
  EXPECT_EQ(trace.BatchesUntilStable(), 2);
  EXPECT_EQ(trace.largest_sample(), 105);
}

TEST(RangeTraceTest, RowsFoldedIntoTheFirstAxisBelongToTheirSample) {
  RangeTrace trace;
  at::Tensor x = at::zeros({6, 4});
  x[3][0] = -7;
  trace.Observe(x, {40, 41, 42});
  EXPECT_EQ(trace.largest_sample(), 41);
}

TEST(RangeTraceTest, OtherShapesZerosAndNansHaveNoSample) {
  RangeTrace trace;
  trace.Observe(at::zeros({2, 2}), {1, 2});
  trace.Observe(at::full({2, 2}, std::nanf("")), {1, 2});
  EXPECT_FALSE(trace.largest_sample().has_value());
  trace.Observe(at::ones({5, 2}), {1, 2});
  EXPECT_FALSE(trace.largest_sample().has_value());
  EXPECT_EQ(trace.BatchesUntilStable(), 3);
}

}  // namespace
}  // namespace pactory::quant
