#include "quant/data/data_order.h"

#include <numeric>
#include <utility>

#include "quant/data/random.h"

namespace pactory::quant {

std::vector<int64_t> ShuffledOrder(int64_t size, uint64_t seed, int64_t epoch) {
  std::vector<int64_t> order(size > 0 ? size : 0);
  std::iota(order.begin(), order.end(), 0);
  Random random(seed, {static_cast<uint64_t>(epoch)});
  for (int64_t last = size - 1; last > 0; --last) std::swap(order[last], order[random.Below(last + 1)]);
  return order;
}

}  // namespace pactory::quant
