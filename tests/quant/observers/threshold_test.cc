#include "quant/observers/threshold.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>

namespace pactory::quant {
namespace {

AbsHistogram HistogramOf(const at::Tensor& x) {
  AbsHistogram histogram;
  histogram.Observe(x);
  return histogram;
}

TEST(ThresholdTest, PercentileKeepsThatShare) {
  at::manual_seed(1);
  at::Tensor x = at::randn({100000});
  const AbsHistogram histogram = HistogramOf(x);
  for (double percentile : {50.0, 90.0, 99.0, 99.9}) {
    const double threshold = PercentileThreshold(histogram, percentile);
    const double exact = at::quantile(x.abs().slice(0, 0, 100000).to(at::kDouble), percentile / 100).item<double>();
    EXPECT_NEAR(threshold, exact, 2 * histogram.range() / AbsHistogram::kBins) << percentile;
  }
  EXPECT_DOUBLE_EQ(PercentileThreshold(histogram, 100.0), histogram.abs_max());
}

// Brute force on the values themselves.
double BestThreshold(const at::Tensor& x, int64_t steps) {
  const double largest = x.abs().max().item<double>();
  double best = 0, least = std::numeric_limits<double>::infinity();
  for (int i = 1; i <= 400; ++i) {
    const double threshold = largest * i / 400;
    const double scale = threshold / steps;
    const double error = ((x / scale).round().clamp(-steps, steps) * scale - x).square().mean().item<double>();
    if (error < least) {
      least = error;
      best = threshold;
    }
  }
  return best;
}

TEST(ThresholdTest, MseRuleFindsTheBestThresholdOfTheValues) {
  at::manual_seed(2);
  at::Tensor x = at::randn({20000}).to(at::kDouble);
  for (int64_t steps : {3, 7, 15, 127}) {
    EXPECT_NEAR(MseThreshold(HistogramOf(x), steps), BestThreshold(x, steps), 0.05 * BestThreshold(x, steps)) << steps;
  }
}

TEST(ThresholdTest, MseRuleCutsAnOutlierAndKeepsMaxWouldNot) {
  at::manual_seed(3);
  at::Tensor x = at::randn({100000});
  x[0] = 100.0;
  v1::CalibrationConfig config;
  config.set_threshold(v1::CalibrationConfig::MSE);
  EXPECT_LT(ChooseThreshold(config, HistogramOf(x), 7), 5);
  config.set_threshold(v1::CalibrationConfig::MAX);
  EXPECT_FLOAT_EQ(ChooseThreshold(config, HistogramOf(x), 7), 100);
}

TEST(ThresholdTest, NothingButZerosHasNoThreshold) {
  v1::CalibrationConfig config;
  EXPECT_EQ(ChooseThreshold(config, HistogramOf(at::zeros({10})), 127), 0);
}

}  // namespace
}  // namespace pactory::quant
