#include "workers/trainer/freed_memory.h"

#include <malloc.h>

#include <limits>

namespace pactory {

void KeepFreedMemory() {
  // Blocks of any size come from the heap, whose end stays where it is.
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
}

}  // namespace pactory
