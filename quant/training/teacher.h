// The uploaded model as the teacher of its quantized form: its logits for training samples, each computed once where they are
// small enough to keep. Used by the pipeline's batches. Not thread-safe.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "quant/execution/executor.h"

namespace pactory::quant {

/// Gives the FP32 model's logits.
class Teacher {
 public:
  /// Borrows `executor`, which stays on its device. `logits`: the value to fetch. `samples`: size of the training set.
  Teacher(Executor& executor, std::string logits, int64_t samples, at::Device device);

  /// Returns the logits of the samples `indices`, whose inputs are `x` (on the teacher's device), without autograd.
  absl::StatusOr<at::Tensor> Logits(absl::Span<const int64_t> indices, const at::Tensor& x);

 private:
  absl::StatusOr<at::Tensor> Compute(const at::Tensor& x);

  Executor& executor_;
  const std::string logits_;
  const at::Device device_;
  // Logits by sample, undefined until the first batch tells their size; absent for good where they are too large.
  at::Tensor cache_;
  std::vector<bool> cached_;
  enum class Caching { kUndecided, kOn, kOff } caching_ = Caching::kUndecided;
};

}  // namespace pactory::quant
