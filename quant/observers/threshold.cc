#include "quant/observers/threshold.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

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

// Divergence of the first `count` bins, with all further ones counted into the last, from themselves on `levels` levels: each
// level spreads its sum evenly over those of its bins that are not empty.
double Divergence(const std::vector<int64_t>& bins, int count, int64_t levels, int64_t beyond) {
  double total = static_cast<double>(beyond);
  for (int i = 0; i < count; ++i) total += static_cast<double>(bins[i]);
  double kept = total - static_cast<double>(beyond);
  double divergence = 0;
  for (int64_t level = 0; level < levels; ++level) {
    const int begin = static_cast<int>(level * count / levels);
    const int end = static_cast<int>((level + 1) * count / levels);
    double sum = 0;
    int filled = 0;
    for (int i = begin; i < end; ++i) {
      sum += static_cast<double>(bins[i]);
      filled += bins[i] > 0;
    }
    for (int i = begin; i < end; ++i) {
      const double p = static_cast<double>(bins[i] + (i == count - 1 ? beyond : 0)) / total;
      if (p == 0) continue;
      // Only what was clipped can fall where nothing was: as far away as a distribution can be.
      if (bins[i] == 0) return std::numeric_limits<double>::infinity();
      divergence += p * std::log(p / (sum / filled / kept));
    }
  }
  return divergence;
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

double EntropyThreshold(const AbsHistogram& histogram, int64_t steps) {
  const std::vector<int64_t>& bins = histogram.bins();
  const double width = histogram.range() / AbsHistogram::kBins;
  const int last = std::min<int>(AbsHistogram::kBins, static_cast<int>(std::ceil(histogram.abs_max() / width)));
  int64_t beyond = 0;
  double best = histogram.abs_max();
  double least = std::numeric_limits<double>::infinity();
  for (int count = last; count > steps; --count) {
    if (count < last) beyond += bins[count];
    const double divergence = Divergence(bins, count, steps + 1, beyond);
    if (divergence < least) {
      least = divergence;
      best = std::min(histogram.abs_max(), count * width);
    }
  }
  return best;
}

double ChooseThreshold(const v1::CalibrationConfig& config, const AbsHistogram& histogram, int64_t steps) {
  if (histogram.abs_max() == 0) return 0;
  switch (config.threshold()) {
    case v1::CalibrationConfig::MAX:
    case v1::CalibrationConfig::OUTPUT_ERROR:
      return AbsMaxThreshold(histogram);
    case v1::CalibrationConfig::PERCENTILE:
      return PercentileThreshold(histogram, config.percentile());
    case v1::CalibrationConfig::ENTROPY:
      return EntropyThreshold(histogram, steps);
    default:
      return MseThreshold(histogram, steps);
  }
}

}  // namespace pactory::quant
