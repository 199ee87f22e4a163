// The inner loops of fake quantization on CPU memory: one pass over the data each, compiled for several instruction sets,
// run on LibTorch's threads. Used by fake_quantize.cc alone. Thread-safe; results do not depend on the number of threads.
#pragma once

#include <cstdint>

namespace pactory::quant {

/// y = clamp(round_half_even(x / scale), qmin, qmax) * scale. NaN stays NaN. `y` may be `x`.
void FakeQuantizeLoop(const float* x, float* y, int64_t count, float scale, float qmin, float qmax);

/// Sums of the upstream gradient over the elements that the clip cut off.
struct ClippedSums {
  double above = 0;
  double below = 0;
};

/// dx = dy where lower <= x < upper, else 0; returns the sums of dy where x >= upper and where x < lower.
ClippedSums ClipGradientLoop(const float* dy, const float* x, float* dx, int64_t count, float lower, float upper);

/// The sums of a clip gradient, and that of the rounding of what lies inside.
struct StepSums {
  double above = 0;
  double below = 0;
  /// Sum of dy * (round_half_even(x / scale) - x / scale) over lower <= x < upper.
  double rounding = 0;
};

/// As ClipGradientLoop, with the sum that the gradient of the step needs.
StepSums StepGradientLoop(const float* dy, const float* x, float* dx, int64_t count, float lower, float upper,
                          float scale);

/// Per-channel symmetric weights, `channels` runs of `run` values each:
/// scale[c] = max(max|w_c|, floor) / qmax, y = round_half_even(w / scale[c]) * scale[c]. `y` may be null: scales only.
void QuantizeChannelsLoop(const float* w, float* y, float* scales, int64_t channels, int64_t run, float qmax,
                          float floor);

}  // namespace pactory::quant
