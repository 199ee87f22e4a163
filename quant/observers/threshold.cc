#include "quant/observers/threshold.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace pactory::quant {
namespace {

// Candidates for the MSE rule: max|x| * i / kCandidates, none below a 64th of the maximum.
constexpr int kCandidates = 256;
constexpr int kFirstCandidate = 4;

double SquaredError(const AbsHistogram& histogram, double threshold, int64_t steps) {
  const double width = histogram.range() / AbsHistogram::kBins;
  const double step = threshold / static_cast<double>(steps);
  // Where a bin is not much finer than a step, values are spread evenly over the step.
  const bool fine_step = step < 4 * width;
  double error = 0;
  for (int i = 0; i < AbsHistogram::kBins; ++i) {
    const int64_t count = histogram.bins()[i];
    if (count == 0) continue;
    // Exact zeros, which ReLU makes many of, stay exact on any grid.
    const double center = i == 0 ? 0 : (i + 0.5) * width;
    double difference;
    if (center > threshold) {
      difference = (center - threshold) * (center - threshold);
    } else if (fine_step && i != 0) {
      difference = step * step / 12;
    } else {
      const double rounded = std::nearbyint(center / step) * step;
      difference = (center - rounded) * (center - rounded);
    }
    error += difference * static_cast<double>(count);
  }
  return error;
}

}  // namespace

double AbsMaxThreshold(const AbsHistogram& histogram) { return histogram.abs_max(); }

double PercentileThreshold(const AbsHistogram& histogram, double percentile) {
  const double kept = histogram.count() * percentile / 100.0;
  int64_t seen = 0;
  for (int i = 0; i < AbsHistogram::kBins; ++i) {
    seen += histogram.bins()[i];
    if (seen >= kept) return std::min(histogram.abs_max(), (i + 1) * histogram.range() / AbsHistogram::kBins);
  }
  return histogram.abs_max();
}

double MseThreshold(const AbsHistogram& histogram, int64_t steps) {
  double best = histogram.abs_max();
  double least = std::numeric_limits<double>::infinity();
  for (int i = kFirstCandidate; i <= kCandidates; ++i) {
    const double threshold = histogram.abs_max() * i / kCandidates;
    const double error = SquaredError(histogram, threshold, steps);
    if (error < least) {
      least = error;
      best = threshold;
    }
  }
  return best;
}

double ChooseThreshold(const v1::CalibrationConfig& config, const AbsHistogram& histogram, int64_t steps) {
  if (histogram.abs_max() == 0) return 0;
  switch (config.threshold()) {
    case v1::CalibrationConfig::MAX:
      return AbsMaxThreshold(histogram);
    case v1::CalibrationConfig::PERCENTILE:
      return PercentileThreshold(histogram, config.percentile());
    default:
      return MseThreshold(histogram, steps);
  }
}

}  // namespace pactory::quant
