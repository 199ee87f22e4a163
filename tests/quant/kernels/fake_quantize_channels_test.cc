// Weights with learned ranges, against the paper's formulas written out in double precision.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "quant/kernels/fake_quantize.h"

namespace pactory::quant {
namespace {

TEST(FakeQuantizeChannelsTest, ValuesAndGradientsFollowLsqInEachChannel) {
  at::manual_seed(8);
  for (const int64_t axis : {0, 1, -1}) {
    for (const int64_t qmax : {1, 7, 63}) {
      at::Tensor w = at::randn({4, 3, 5}).requires_grad_(true);
      const at::Tensor upstream = at::randn({4, 3, 5});
      const int64_t channels = axis < 0 ? 1 : w.size(axis);
      at::Tensor ranges = (at::rand({channels}) + 0.8).requires_grad_(true);
      const at::Tensor y = FakeQuantizeChannels(w, ranges, axis, qmax);
      (y * upstream).sum().backward();
      std::vector<double> dranges(channels, 0.0);
      for (int64_t i = 0; i < w.numel(); ++i) {
        const int64_t channel = axis < 0 ? 0 : axis == 0 ? i / 15 : i / 5 % 3;
        const double s = ranges[channel].item<double>() / static_cast<double>(qmax);
        const double value = w.reshape({-1})[i].item<double>(), dy = upstream.reshape({-1})[i].item<double>();
        const double v = value / s, q = static_cast<double>(qmax);
        const bool above = v >= q, below = v < -q;
        const double expected = (above ? q : below ? -q : std::nearbyint(v)) * s;
        EXPECT_NEAR(y.reshape({-1})[i].item<double>(), expected, 1e-5) << i;
        EXPECT_EQ(w.grad().reshape({-1})[i].item<double>(), above || below ? 0 : dy) << i;
        // Equation 3 gives the gradient of s; that of the range is 1 / qmax of it.
        dranges[channel] += dy * (above ? q : below ? -q : std::nearbyint(v) - v) / q;
      }
      const double shared = 60.0 / static_cast<double>(channels);
      for (int64_t c = 0; c < channels; ++c) {
        EXPECT_NEAR(ranges.grad()[c].item<double>(), dranges[c] / std::sqrt(shared * static_cast<double>(qmax)), 1e-5);
      }
    }
  }
}

}  // namespace
}  // namespace pactory::quant
