// Float tensors to the integers of their grid, as the file stores them. Used by lower_quantizers. Stateless.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace pactory::quant {

/// Returns round_half_even(weight / scale) clamped to [-steps, steps] as int8. `scales`: one, or one per channel of `axis`.
at::Tensor QuantizeWeight(const at::Tensor& weight, const at::Tensor& scales, int64_t axis, int64_t steps);

/// A bias on the grid of its layer's sums.
struct QuantizedBias {
  /// int32, one per channel.
  at::Tensor values;
  /// input scale * weight scale, float.
  at::Tensor scales;
  /// The weight's scales, raised where the bias would not have fitted 32 bits.
  at::Tensor weight_scales;
  /// Channels whose scale was raised.
  std::vector<int64_t> raised_channels;
};

/// Quantizes a bias: q = round_half_even(b / (s_x * s_w)). A channel whose |q| would pass 2^31 - 1 (dead weights under a
/// live bias) gets the least weight scale that fits: its weights then count for less than a rounding of its bias.
QuantizedBias QuantizeBias(const at::Tensor& bias, double input_scale, const at::Tensor& weight_scales);

}  // namespace pactory::quant
