// How the range of an activation grew over the batches of calibration: when it was settled, and which sample it is of. Used by
// calibration. Not thread-safe.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/types/span.h"

namespace pactory::quant {

/// The growth of max|x|. Its memory grows with the number of times that a batch brought a new maximum, which is about the
/// logarithm of the number of batches where these come in random order.
class RangeTrace {
 public:
  /// Takes in the next batch: a float tensor whose first axis holds `samples`, the dataset's indices, in order (several rows for each
  /// where it was folded into another axis).
  void Observe(const at::Tensor& x, absl::Span<const int64_t> samples);

  /// Batches seen.
  int64_t batches() const { return batches_; }
  /// Batches until max|x| had come within 1 % of its last value.
  int64_t BatchesUntilStable() const;
  /// The dataset's index of the sample with the largest |x|; absent where the first axis is not the samples', and for zeros.
  std::optional<int64_t> largest_sample() const { return largest_sample_; }

 private:
  struct Growth {
    int64_t batch;
    double abs_max;
  };

  int64_t batches_ = 0;
  std::vector<Growth> growths_;
  std::optional<int64_t> largest_sample_;
};

}  // namespace pactory::quant
