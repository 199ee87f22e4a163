// Stored values into the model's input: y = (x * scale - mean) / std. Used by the dataset readers. Thread-safe.
#pragma once

#include <ATen/core/Tensor.h>

#include "absl/status/statusor.h"
#include "pactory/v1/quantization.pb.h"

namespace pactory::quant {

/// The value part of PreprocessConfig, ready for samples with a number of channels.
class Preprocess {
 public:
  /// `default_scale` is used where the config gives none. INVALID_ARGUMENT names the field: mean and std must have one
  /// value or one for each of `channels`, std must not be 0, everything must be finite.
  static absl::StatusOr<Preprocess> Create(const v1::PreprocessConfig& config, double default_scale, int64_t channels);

  /// Returns float32 values for N x C x ... stored values of any type.
  at::Tensor Apply(const at::Tensor& stored) const;

 private:
  // y = x * factor + offset, one number for each channel.
  at::Tensor factor_;
  at::Tensor offset_;
};

}  // namespace pactory::quant
