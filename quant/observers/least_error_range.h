// The range of weights that loses least on their grid. Used by quantizers. Stateless.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace pactory::quant {

/// Returns, for each channel of `channel_axis` (or the whole tensor where it is negative), the range t with the least sum of
/// (clamp(round_half_even(w / s), -qmax, qmax) * s - w)^2, s = t / qmax, among the hundredths of max|w|; 0 where all weights are.
at::Tensor LeastErrorRanges(const at::Tensor& weight, int64_t channel_axis, int64_t qmax);

}  // namespace pactory::quant
