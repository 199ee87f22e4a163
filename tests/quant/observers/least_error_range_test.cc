#include "quant/observers/least_error_range.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace pactory::quant {
namespace {

double ErrorAt(const std::vector<double>& values, double range, int64_t steps) {
  const double step = range / static_cast<double>(steps);
  double error = 0;
  for (const double value : values) {
    const double integer = std::clamp(std::nearbyint(value / step), -static_cast<double>(steps), static_cast<double>(steps));
    error += (integer * step - value) * (integer * step - value);
  }
  return error;
}

TEST(LeastErrorRangeTest, NoOtherRangeOfAChannelLosesLess) {
  at::manual_seed(4);
  // Channels of very different sizes, as folding a BatchNormalization leaves them.
  const at::Tensor weight = at::randn({5, 6, 3, 3}) * at::tensor({1e-3f, 0.1f, 1.0f, 20.0f, 400.0f}).reshape({5, 1, 1, 1});
  for (const int64_t axis : {0, 1}) {
    for (const int64_t steps : {1, 3, 7, 63}) {
      const at::Tensor ranges = LeastErrorRanges(weight, axis, steps);
      ASSERT_EQ(ranges.numel(), weight.size(axis));
      for (int64_t channel = 0; channel < weight.size(axis); ++channel) {
        const at::Tensor row = weight.select(axis, channel).reshape({-1}).to(at::kDouble);
        const std::vector<double> values(row.const_data_ptr<double>(), row.const_data_ptr<double>() + row.numel());
        const double found = ErrorAt(values, ranges[channel].item<double>(), steps);
        const double largest = row.abs().max().item<double>();
        for (int i = 1; i <= 100; ++i) EXPECT_LE(found, ErrorAt(values, largest * i / 100, steps) * 1.0001) << steps << " " << i;
      }
    }
  }
}

TEST(LeastErrorRangeTest, OneRangeInAllAndZeros) {
  const at::Tensor weight = at::tensor({-2.0f, 1.0f, 2.0f, 0.0f}).reshape({2, 2});
  // Every weight lies on the grid of 2: nothing is better than no error.
  EXPECT_FLOAT_EQ(LeastErrorRanges(weight, -1, 2).item<float>(), 2.0f);
  EXPECT_EQ(LeastErrorRanges(at::zeros({3, 2}), 0, 7).abs().max().item<float>(), 0.0f);
}

}  // namespace
}  // namespace pactory::quant
