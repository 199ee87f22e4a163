// How far a model's outputs are from the FP32 model's, as a signal-to-noise ratio. Used by the pipeline. Not thread-safe.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <vector>

namespace pactory::quant {

/// The first outputs of an evaluation, as many as fit a bounded memory.
class KeptOutputs {
 public:
  static constexpr int64_t kMaxBytes = 32 << 20;

  /// Takes the outputs of a batch (float, CPU, N x ...) where there is room: at least one sample is kept.
  void Add(const at::Tensor& outputs);

  /// All that were kept; undefined where there are none.
  at::Tensor values() const;

 private:
  std::vector<at::Tensor> parts_;
  int64_t room_ = kMaxBytes;
  bool full_ = false;
};

/// Returns 10 log10(sum exact^2 / sum (exact - other)^2) in dB over the samples that both have, -infinity where one alone has a value
/// that is not finite; nothing where they have no samples, where the shapes differ or where there is no noise at all.
std::optional<double> SqnrDb(const KeptOutputs& exact, const KeptOutputs& other);

}  // namespace pactory::quant
