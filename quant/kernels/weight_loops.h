// The inner loop of the fake quantization of weights on CPU memory, compiled for several instruction sets, run on LibTorch's
// threads. Used by fake_quantize.cc alone. Thread-safe; results do not depend on the number of threads.
#pragma once

#include <cstdint>

namespace pactory::quant {

/// Per-channel symmetric weights, `channels` runs of `run` values each:
/// scale[c] = max(max|w_c|, floor) / qmax, y = round_half_even(w / scale[c]) * scale[c]. `y` may be null: scales only.
void QuantizeChannelsLoop(const float* w, float* y, float* scales, int64_t channels, int64_t run, float qmax,
                          float floor);

}  // namespace pactory::quant
