// One copy of a loop for each instruction set, chosen when the program starts: the baseline has neither fused rounding nor wide
// registers. Used by the loops of quant/kernels.
#pragma once

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define PACTORY_VECTOR_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define PACTORY_VECTOR_CLONES
#endif

namespace pactory::quant {

// Sums are kept in this many parts, whatever the width of the registers, so that they come out the same.
constexpr int kLanes = 16;

// Comparisons are written so that NaN passes through.
inline float ClampKeepingNan(float v, float low, float high) {
  v = v < low ? low : v;
  return v > high ? high : v;
}

// Adding and taking away 1.5 * 2^23 rounds half to even for |v| < 2^22, in every instruction set.
inline float RoundedHalfToEven(float v) {
  constexpr float kRounder = 12582912.0f;
  return (v + kRounder) - kRounder;
}

// Fake quantization of one value. The clamp comes before the rounding, which is the same because the bounds are integers, and keeps the
// quotient small.
inline float OnGrid(float v, float scale, float first, float last) {
  return RoundedHalfToEven(ClampKeepingNan(v / scale, first, last)) * scale;
}

}  // namespace pactory::quant
