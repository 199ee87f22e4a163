#include "quant/kernels/weight_loops.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "quant/kernels/vector_clones.h"

namespace pactory::quant {
namespace {

// Weights of one task, at least.
constexpr int64_t kBlock = 16384;

PACTORY_VECTOR_CLONES void QuantizeRun(const float* x, float* y, int64_t count, float scale, float qmax) {
  for (int64_t i = 0; i < count; ++i) y[i] = OnGrid(x[i], scale, -qmax, qmax);
}

PACTORY_VECTOR_CLONES float AbsMaxBlock(const float* x, int64_t count) {
  float largest[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const float magnitude = std::fabs(x[i + lane]);
      largest[lane] = largest[lane] < magnitude ? magnitude : largest[lane];
    }
  }
  float result = 0;
  for (; i < count; ++i) result = std::max(result, std::fabs(x[i]));
  for (float lane : largest) result = std::max(result, lane);
  return result;
}

}  // namespace

void QuantizeChannelsLoop(const float* w, float* y, float* scales, int64_t channels, int64_t run, float qmax,
                          float floor) {
  const int64_t grain = std::max<int64_t>(1, kBlock / std::max<int64_t>(1, run));
  at::parallel_for(0, channels, grain, [&](int64_t first, int64_t last) {
    for (int64_t channel = first; channel < last; ++channel) {
      const float* from = w + channel * run;
      scales[channel] = std::max(AbsMaxBlock(from, run), floor) / qmax;
      if (y != nullptr) QuantizeRun(from, y + channel * run, run, scales[channel], qmax);
    }
  });
}

}  // namespace pactory::quant
