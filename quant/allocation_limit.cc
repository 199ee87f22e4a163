#include "quant/allocation_limit.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/util/Exception.h>

#include <limits>
#include <mutex>

namespace pactory::quant {
namespace {

thread_local int64_t largest = std::numeric_limits<int64_t>::max();

// LibTorch's own allocator behind a look at the size.
class LimitedAllocator : public c10::Allocator {
 public:
  explicit LimitedAllocator(c10::Allocator* base) : base_(base) {}

  c10::DataPtr allocate(size_t bytes) override {
    TORCH_CHECK_WITH(OutOfMemoryError, bytes <= static_cast<size_t>(largest),
                     "a tensor must not be larger than ", largest, " bytes here: bytes=", bytes);
    return base_->allocate(bytes);
  }
  c10::DeleterFnPtr raw_deleter() const override { return base_->raw_deleter(); }
  void copy_data(void* target, const void* source, std::size_t bytes) const override {
    base_->copy_data(target, source, bytes);
  }

 private:
  c10::Allocator* base_;
};

void Install() {
  static std::once_flag once;
  std::call_once(once, [] {
    // Lives as long as any tensor may.
    static auto* allocator = new LimitedAllocator(c10::GetCPUAllocator());
    c10::SetCPUAllocator(allocator, /*priority=*/100);
  });
}

}  // namespace

AllocationLimit::AllocationLimit(int64_t bytes) : before_(largest) {
  Install();
  largest = bytes;
}

AllocationLimit::~AllocationLimit() { largest = before_; }

}  // namespace pactory::quant
