#include "quant/observers/threshold.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

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

// The rule written out on probabilities, apart from the implementation.
double ReferenceEntropy(const std::vector<int64_t>& bins, size_t kept, size_t levels) {
  std::vector<double> p(bins.begin(), bins.begin() + kept);
  std::vector<double> q(kept, 0);
  for (size_t level = 0; level < levels; ++level) {
    const size_t begin = level * kept / levels, end = (level + 1) * kept / levels;
    double sum = 0, filled = 0;
    for (size_t i = begin; i < end; ++i) sum += p[i], filled += p[i] > 0 ? 1 : 0;
    for (size_t i = begin; i < end; ++i) q[i] = p[i] > 0 ? sum / filled : 0;
  }
  for (size_t i = kept; i < bins.size(); ++i) p[kept - 1] += static_cast<double>(bins[i]);
  const double p_sum = std::accumulate(p.begin(), p.end(), 0.0), q_sum = std::accumulate(q.begin(), q.end(), 0.0);
  double divergence = 0;
  for (size_t i = 0; i < kept; ++i) {
    if (p[i] == 0) continue;
    if (q[i] == 0) return std::numeric_limits<double>::infinity();
    divergence += p[i] / p_sum * std::log((p[i] / p_sum) / (q[i] / q_sum));
  }
  return divergence;
}

TEST(ThresholdTest, EntropyRuleFindsTheLeastDivergence) {
  at::manual_seed(4);
  at::Tensor x = at::randn({50000});
  x.slice(0, 0, 20).mul_(8);
  const AbsHistogram histogram = HistogramOf(x);
  for (int64_t steps : {7, 127, 255}) {
    double best = 0, least = std::numeric_limits<double>::infinity();
    for (int kept = AbsHistogram::kBins; kept > steps; --kept) {
      const double divergence = ReferenceEntropy(histogram.bins(), kept, steps + 1);
      if (divergence < least) {
        least = divergence;
        best = kept * histogram.range() / AbsHistogram::kBins;
      }
    }
    EXPECT_NEAR(EntropyThreshold(histogram, steps), std::min(best, histogram.abs_max()), 1e-9) << steps;
  }
  EXPECT_LT(EntropyThreshold(histogram, 127), 0.7 * histogram.abs_max());
}

}  // namespace
}  // namespace pactory::quant
