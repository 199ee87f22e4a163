// Fake quantization as autograd sees it: the grid's values forward, the straight-through estimator backward. Used by the
// quantizers. Float tensors of any shape and layout, on CPU (fused loops) or CUDA (composed of ATen ops). Thread-safe.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "quant/kernels/pointwise_chain.h"

namespace pactory::quant {

/// Integers that a quantized value may take.
struct Grid {
  int64_t qmin = -127;
  int64_t qmax = 127;
};

/// What moves a learned range.
enum class RangeGradient {
  /// Values that the clip cuts off, as in PACT.
  kClip,
  /// These, and the rounding of all others, as in LSQ.
  kClipAndRounding,
};

/// Returns y = clamp(round_half_even(x / s), qmin, qmax) * s with s = alpha / qmax.
///
/// Gradients, with upper = alpha, lower = alpha * qmin / qmax and v = x / s:
///   dy/dx = 1 for lower <= x < upper, else 0
///   dy/dalpha = 1 for x >= upper, qmin / qmax for x < lower, and between them 0 for kClip, (round(v) - v) / qmax for
///   kClipAndRounding
/// kClip is PACT (Choi et al. 2018, eq. 3) for qmin = 0 and its two-sided form for qmin = -qmax; kClipAndRounding is LSQ
/// (Esser et al. 2020, eq. 3) in terms of alpha = s * qmax.
/// Requires: alpha has one element, is positive and on x's device.
at::Tensor FakeQuantizeLearned(const at::Tensor& x, const at::Tensor& alpha, Grid grid,
                               RangeGradient gradient = RangeGradient::kClip);

/// The same as a stage of a chain, with alpha as it is now. Requires: alpha is a float on CPU.
PointwiseStage FakeQuantizeLearnedStage(const at::Tensor& alpha, Grid grid, RangeGradient gradient = RangeGradient::kClip);

/// Returns y = clamp(round_half_even(x / s), k, k + levels) * s with s = (high - low) / levels and k = round(low / s): an
/// affine grid that holds 0.0, as its zero point -k is an integer.
///
/// Gradients, with v = x / s:
///   dy/dx = 1 for k * s <= x < (k + levels) * s, else 0
///   dy/dhigh = 1 above, dy/dlow = 1 below, and between them 0 for kClip; for kClipAndRounding dy/dhigh = -dy/dlow =
///   (round(v) - v) / levels, which is LSQ+ (Bhalgat et al. 2020, eq. 4 to 7) in terms of low = beta, high = beta + levels * s
/// Requires: low and high have one element each, low <= 0 < high, on x's device.
at::Tensor FakeQuantizeBounds(const at::Tensor& x, const at::Tensor& low, const at::Tensor& high, int64_t levels,
                              RangeGradient gradient);

/// The same as a stage of a chain, with the bounds as they are now. Requires: they are floats on CPU.
PointwiseStage FakeQuantizeBoundsStage(const at::Tensor& low, const at::Tensor& high, int64_t levels, RangeGradient gradient);

/// Returns the grid of FakeQuantizeBounds: {k, k + levels}. `low` and `high` on any device.
Grid GridOfBounds(const at::Tensor& low, const at::Tensor& high, int64_t levels);

/// As FakeQuantizeLearned with a fixed alpha > 0; both ends of the range count as inside, so that the largest value of a
/// tensor keeps its gradient.
at::Tensor FakeQuantizeFixed(const at::Tensor& x, double alpha, Grid grid);

/// The same as a stage of a chain.
PointwiseStage FakeQuantizeFixedStage(double alpha, Grid grid);

/// Quantizes weights symmetrically on [-qmax, qmax]: s_c = max(max|w_c|, floor) / qmax over all axes but `channel_axis`, or
/// one scale for the whole tensor where it is negative. The gradient passes unchanged: no value lies outside the range.
at::Tensor FakeQuantizeAbsMax(const at::Tensor& weight, int64_t channel_axis, int64_t qmax, double floor);

/// Quantizes weights symmetrically on [-qmax, qmax] with given ranges: s_c = ranges_c / qmax, one for each channel of
/// `channel_axis`, or one for the whole tensor where it is negative.
///
/// Gradients of a channel as of FakeQuantizeLearned with kClipAndRounding; those of its range times 1 / sqrt(N * qmax), N being
/// the channel's weights (Esser et al. 2020, section 2.2).
/// Requires: ranges are positive and on the weight's device.
at::Tensor FakeQuantizeChannels(const at::Tensor& weight, const at::Tensor& ranges, int64_t channel_axis, int64_t qmax);

/// Returns the scales that FakeQuantizeAbsMax uses: a float CPU tensor with one element per channel, or one.
at::Tensor AbsMaxScales(const at::Tensor& weight, int64_t channel_axis, int64_t qmax, double floor);

}  // namespace pactory::quant
