// Bounds the memory that tensors take while a graph runs that nobody has vouched for. Thread-safe; a limit holds for its thread.
#pragma once

#include <cstdint>
#include <memory>

namespace pactory::quant {

/// While it lives, tensors made on the host by this thread may hold at most `bytes` together; one more throws
/// c10::OutOfMemoryError, which GuardTorch turns into RESOURCE_EXHAUSTED, before any memory is touched. Of nested limits the
/// smallest counts.
class AllocationLimit {
 public:
  explicit AllocationLimit(int64_t bytes);
  ~AllocationLimit();
  AllocationLimit(const AllocationLimit&) = delete;
  AllocationLimit& operator=(const AllocationLimit&) = delete;

  /// What tensors hold of a limit; tensors may outlive it.
  struct Budget;

 private:
  std::shared_ptr<Budget> before_;
};

}  // namespace pactory::quant
