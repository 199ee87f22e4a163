// One copy of a loop for each instruction set, chosen when the program starts: the baseline has neither fused rounding nor wide
// registers. Used by the loops of quant/kernels.
#pragma once

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define PACTORY_VECTOR_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define PACTORY_VECTOR_CLONES
#endif

namespace pactory::quant {

// Adding and taking away 1.5 * 2^23 rounds half to even for |v| < 2^22, in every instruction set.
constexpr float kRounder = 12582912.0f;

// Sums are kept in this many parts, whatever the width of the registers, so that they come out the same.
constexpr int kLanes = 16;

// Comparisons are written so that NaN passes through.
inline float ClampKeepingNan(float v, float low, float high) {
  v = v < low ? low : v;
  return v > high ? high : v;
}

}  // namespace pactory::quant
