#include "quant/data/data_order.h"

#include <numeric>
#include <utility>

namespace pactory::quant {
namespace {

// SplitMix64 (Steele, Lea and Flood 2014). The standard library's shuffle and distributions differ between vendors.
uint64_t NextRandom(uint64_t& state) {
  uint64_t z = (state += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

}  // namespace

std::vector<int64_t> ShuffledOrder(int64_t size, uint64_t seed, int64_t epoch) {
  std::vector<int64_t> order(size > 0 ? size : 0);
  std::iota(order.begin(), order.end(), 0);
  // Seed and epoch are mixed one after the other, so that (1, 2) and (2, 1) differ.
  uint64_t state = seed;
  state = NextRandom(state) ^ static_cast<uint64_t>(epoch);
  for (int64_t last = size - 1; last > 0; --last) {
    // The modulo's bias is below size / 2^64.
    std::swap(order[last], order[NextRandom(state) % static_cast<uint64_t>(last + 1)]);
  }
  return order;
}

}  // namespace pactory::quant
