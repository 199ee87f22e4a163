// Bounds single tensors while a file that nobody has vouched for is looked at. Thread-safe; a limit holds for its thread.
#pragma once

#include <cstdint>

namespace pactory::quant {

/// While it lives, a tensor on the host of more than `bytes` throws c10::OutOfMemoryError on this thread, which GuardTorch
/// turns into RESOURCE_EXHAUSTED, before any memory is touched. The innermost limit counts.
class AllocationLimit {
 public:
  explicit AllocationLimit(int64_t bytes);
  ~AllocationLimit();
  AllocationLimit(const AllocationLimit&) = delete;
  AllocationLimit& operator=(const AllocationLimit&) = delete;

 private:
  int64_t before_;
};

}  // namespace pactory::quant
