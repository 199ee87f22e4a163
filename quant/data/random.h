// Random numbers that are the same on every machine: the standard library's shuffle and distributions differ between vendors. Used
// by the order of the data and by augmentation. Not thread-safe.
#pragma once

#include <cstdint>
#include <initializer_list>

namespace pactory::quant {

/// SplitMix64 (Steele, Lea and Flood 2014).
class Random {
 public:
  /// Seed and keys are mixed one after the other, so that 1 with 2 and 2 with 1 give different numbers.
  Random(uint64_t seed, std::initializer_list<uint64_t> keys) : state_(seed) {
    for (const uint64_t key : keys) state_ = Next() ^ key;
  }

  uint64_t Next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  /// Uniform in [0, 1).
  double Share() { return static_cast<double>(Next() >> 11) * 0x1p-53; }
  /// Uniform in [low, high).
  double Between(double low, double high) { return low + (high - low) * Share(); }
  /// Uniform in 0 .. count - 1; the modulo's bias is below count / 2^64. Requires: count > 0.
  int64_t Below(int64_t count) { return static_cast<int64_t>(Next() % static_cast<uint64_t>(count)); }

 private:
  uint64_t state_;
};

}  // namespace pactory::quant
