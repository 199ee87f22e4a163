#include "workers/trainer/freed_memory.h"

#include <malloc.h>

namespace pactory {

void KeepFreedMemory() {
  // The largest threshold that mallopt takes.
  constexpr int kLargestBlock = 32 << 20;
  constexpr int kKeptBytes = 1 << 30;
  mallopt(M_MMAP_THRESHOLD, kLargestBlock);
  mallopt(M_TRIM_THRESHOLD, kKeptBytes);
}

}  // namespace pactory
