// Fake quantization as autograd sees it: the grid's values forward, the straight-through estimator backward. Used by the
// quantizers. Float tensors of any shape and layout, on CPU (fused loops) or CUDA (composed of ATen ops). Thread-safe.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace pactory::quant {

/// Integers that a quantized value may take.
struct Grid {
  int64_t qmin = -127;
  int64_t qmax = 127;
};

/// Returns y = clamp(round_half_even(x / s), qmin, qmax) * s with s = alpha / qmax.
///
/// Gradients, with upper = alpha and lower = alpha * qmin / qmax:
///   dy/dx = 1 for lower <= x < upper, else 0
///   dy/dalpha = 1 for x >= upper, qmin / qmax for x < lower, else 0
/// which is PACT (Choi et al. 2018, eq. 3) for qmin = 0 and its two-sided form for qmin = -qmax.
/// Requires: alpha has one element, is positive and on x's device.
at::Tensor FakeQuantizeLearned(const at::Tensor& x, const at::Tensor& alpha, Grid grid);

/// As FakeQuantizeLearned with a fixed alpha > 0; both ends of the range count as inside, so that the largest value of a
/// tensor keeps its gradient.
at::Tensor FakeQuantizeFixed(const at::Tensor& x, double alpha, Grid grid);

/// Quantizes weights symmetrically on [-qmax, qmax]: s_c = max(max|w_c|, floor) / qmax over all axes but `channel_axis`, or
/// one scale for the whole tensor where it is negative. The gradient passes unchanged: no value lies outside the range.
at::Tensor FakeQuantizeAbsMax(const at::Tensor& weight, int64_t channel_axis, int64_t qmax, double floor);

/// Returns the scales that FakeQuantizeAbsMax uses: a float CPU tensor with one element per channel, or one.
at::Tensor AbsMaxScales(const at::Tensor& weight, int64_t channel_axis, int64_t qmax, double floor);

}  // namespace pactory::quant
