// A histogram of |x| over a stream of tensors in bounded memory: when a value does not fit, the range doubles and
// neighbouring bins merge. Used by calibration. Not thread-safe.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace pactory::quant {

/// Counts of |x|. The memory does not grow with the number of values.
class AbsHistogram {
 public:
  static constexpr int kBins = 4096;

  /// Adds every element of a float tensor. Elements that are not finite are counted apart.
  void Observe(const at::Tensor& x);

  /// Largest finite |x| seen.
  double abs_max() const { return abs_max_; }
  /// Least and largest finite x seen; 0 counts as seen.
  double min() const { return min_; }
  double max() const { return max_; }
  /// Finite values seen.
  int64_t count() const { return count_; }
  /// Values seen that are not finite.
  int64_t non_finite_count() const { return non_finite_; }
  /// Upper end of the last bin; 0 before the first value above 0.
  double range() const { return range_; }
  /// kBins counts; bin i holds |x| in [i, i + 1) * range / kBins, the last one also its end.
  const std::vector<int64_t>& bins() const { return bins_; }

 private:
  void GrowTo(double value);

  std::vector<int64_t> bins_ = std::vector<int64_t>(kBins);
  double range_ = 0;
  double abs_max_ = 0;
  double min_ = 0;
  double max_ = 0;
  int64_t count_ = 0;
  int64_t non_finite_ = 0;
};

}  // namespace pactory::quant
