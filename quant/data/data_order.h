// The order in which training sees its samples: a pure function of seed and epoch, so that a resumed run goes on as if
// nothing happened. Stateless.
#pragma once

#include <cstdint>
#include <vector>

namespace pactory::quant {

/// Returns 0 .. size-1 shuffled; the same on every machine for the same arguments.
std::vector<int64_t> ShuffledOrder(int64_t size, uint64_t seed, int64_t epoch);

}  // namespace pactory::quant
