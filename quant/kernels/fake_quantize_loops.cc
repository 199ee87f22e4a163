#include "quant/kernels/fake_quantize_loops.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

// One copy of a loop per instruction set, chosen when the program starts; the baseline has no fast rounding.
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define PACTORY_VECTOR_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define PACTORY_VECTOR_CLONES
#endif

namespace pactory::quant {
namespace {

// Blocks have a fixed size so that sums come out the same with any number of threads.
constexpr int64_t kBlock = 16384;
constexpr int kLanes = 16;
// Adding and taking away 1.5 * 2^23 rounds half to even for |v| < 2^22, in every instruction set.
constexpr float kRounder = 12582912.0f;

// Comparisons are written so that NaN passes through.
inline float Clamp(float v, float low, float high) {
  v = v < low ? low : v;
  return v > high ? high : v;
}

// The clamp comes before the rounding, which is the same because the bounds are integers, and keeps |v| small.
PACTORY_VECTOR_CLONES void QuantizeBlock(const float* x, float* y, int64_t count, float scale, float qmin, float qmax) {
  for (int64_t i = 0; i < count; ++i) {
    y[i] = ((Clamp(x[i] / scale, qmin, qmax) + kRounder) - kRounder) * scale;
  }
}

PACTORY_VECTOR_CLONES void ClipGradientBlock(const float* dy, const float* x, float* dx, int64_t count, float lower,
                                             float upper, float* above_out, float* below_out) {
  float above[kLanes] = {};
  float below[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const float value = x[i + lane];
      const float gradient = dy[i + lane];
      const float over = value >= upper ? gradient : 0.0f;
      const float under = value < lower ? gradient : 0.0f;
      above[lane] += over;
      below[lane] += under;
      dx[i + lane] = (value >= lower) & (value < upper) ? gradient : 0.0f;
    }
  }
  for (; i < count; ++i) {
    above[0] += x[i] >= upper ? dy[i] : 0.0f;
    below[0] += x[i] < lower ? dy[i] : 0.0f;
    dx[i] = x[i] >= lower && x[i] < upper ? dy[i] : 0.0f;
  }
  *above_out = 0;
  *below_out = 0;
  for (int lane = 0; lane < kLanes; ++lane) {
    *above_out += above[lane];
    *below_out += below[lane];
  }
}

PACTORY_VECTOR_CLONES void StepGradientBlock(const float* dy, const float* x, float* dx, int64_t count, float lower,
                                             float upper, float scale, float* sums_out) {
  float above[kLanes] = {};
  float below[kLanes] = {};
  float rounding[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const float value = x[i + lane];
      const float gradient = dy[i + lane];
      const float steps = Clamp(value, lower, upper) / scale;
      const float inside = (value >= lower) & (value < upper) ? gradient : 0.0f;
      above[lane] += value >= upper ? gradient : 0.0f;
      below[lane] += value < lower ? gradient : 0.0f;
      rounding[lane] += inside * (((steps + kRounder) - kRounder) - steps);
      dx[i + lane] = inside;
    }
  }
  for (; i < count; ++i) {
    const float steps = Clamp(x[i], lower, upper) / scale;
    const float inside = x[i] >= lower && x[i] < upper ? dy[i] : 0.0f;
    above[0] += x[i] >= upper ? dy[i] : 0.0f;
    below[0] += x[i] < lower ? dy[i] : 0.0f;
    rounding[0] += inside * (((steps + kRounder) - kRounder) - steps);
    dx[i] = inside;
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    sums_out[0] += above[lane];
    sums_out[1] += below[lane];
    sums_out[2] += rounding[lane];
  }
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

void FakeQuantizeLoop(const float* x, float* y, int64_t count, float scale, float qmin, float qmax) {
  at::parallel_for(0, count, kBlock, [&](int64_t begin, int64_t end) {
    QuantizeBlock(x + begin, y + begin, end - begin, scale, qmin, qmax);
  });
}

ClippedSums ClipGradientLoop(const float* dy, const float* x, float* dx, int64_t count, float lower, float upper) {
  const int64_t blocks = (count + kBlock - 1) / kBlock;
  std::vector<float> above(blocks), below(blocks);
  at::parallel_for(0, blocks, 1, [&](int64_t first, int64_t last) {
    for (int64_t block = first; block < last; ++block) {
      const int64_t begin = block * kBlock;
      ClipGradientBlock(dy + begin, x + begin, dx + begin, std::min(kBlock, count - begin), lower, upper,
                        &above[block], &below[block]);
    }
  });
  ClippedSums sums;
  for (int64_t block = 0; block < blocks; ++block) {
    sums.above += above[block];
    sums.below += below[block];
  }
  return sums;
}

StepSums StepGradientLoop(const float* dy, const float* x, float* dx, int64_t count, float lower, float upper,
                          float scale) {
  const int64_t blocks = (count + kBlock - 1) / kBlock;
  std::vector<std::array<float, 3>> parts(blocks, {0, 0, 0});
  at::parallel_for(0, blocks, 1, [&](int64_t first, int64_t last) {
    for (int64_t block = first; block < last; ++block) {
      const int64_t begin = block * kBlock;
      StepGradientBlock(dy + begin, x + begin, dx + begin, std::min(kBlock, count - begin), lower, upper, scale,
                        parts[block].data());
    }
  });
  StepSums sums;
  for (const auto& [above, below, rounding] : parts) {
    sums.above += above;
    sums.below += below;
    sums.rounding += rounding;
  }
  return sums;
}

void QuantizeChannelsLoop(const float* w, float* y, float* scales, int64_t channels, int64_t run, float qmax,
                          float floor) {
  const int64_t grain = std::max<int64_t>(1, kBlock / std::max<int64_t>(1, run));
  at::parallel_for(0, channels, grain, [&](int64_t first, int64_t last) {
    for (int64_t channel = first; channel < last; ++channel) {
      const float* from = w + channel * run;
      scales[channel] = std::max(AbsMaxBlock(from, run), floor) / qmax;
      if (y != nullptr) QuantizeBlock(from, y + channel * run, run, scales[channel], -qmax, qmax);
    }
  });
}

}  // namespace pactory::quant
