#include "quant/allocation_limit.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <unordered_map>
#include <utility>

namespace pactory::quant {

struct AllocationLimit::Budget {
  int64_t most = 0;
  // Tensors may be freed by another thread.
  std::atomic<int64_t> held = 0;
};

namespace {

thread_local std::shared_ptr<AllocationLimit::Budget> current;

// Memory that counts towards a budget until it is freed.
struct Counted {
  std::shared_ptr<AllocationLimit::Budget> budget;
  int64_t bytes = 0;
};

// LibTorch's own allocator behind a look at the budget. Convolutions ask for memory whose address is its only context, so
// what counts is found by address.
class LimitedAllocator : public c10::Allocator {
 public:
  explicit LimitedAllocator(c10::Allocator* base) : base_(base) {}

  c10::DataPtr allocate(size_t bytes) override {
    if (current == nullptr || bytes == 0) return base_->allocate(bytes);
    const int64_t held = current->held;
    TORCH_CHECK_WITH(OutOfMemoryError, bytes <= static_cast<size_t>(std::max<int64_t>(0, current->most - held)),
                     "tensors must not be larger than ", current->most, " bytes together here: bytes=", bytes, " held=", held);
    c10::DataPtr memory = base_->allocate(bytes);
    if (memory.compare_exchange_deleter(base_->raw_deleter(), &Free)) {
      const std::lock_guard lock(mutex_);
      counted_[memory.get()] = {current, static_cast<int64_t>(bytes)};
      current->held += static_cast<int64_t>(bytes);
    }
    return memory;
  }
  c10::DeleterFnPtr raw_deleter() const override { return &Free; }
  void copy_data(void* target, const void* source, std::size_t bytes) const override {
    base_->copy_data(target, source, bytes);
  }

  static LimitedAllocator*& Installed() {
    static LimitedAllocator* installed = nullptr;
    return installed;
  }

 private:
  static void Free(void* data) {
    LimitedAllocator& self = *Installed();
    {
      const std::lock_guard lock(self.mutex_);
      if (const auto found = self.counted_.find(data); found != self.counted_.end()) {
        found->second.budget->held -= found->second.bytes;
        self.counted_.erase(found);
      }
    }
    self.base_->raw_deleter()(data);
  }

  c10::Allocator* base_;
  std::mutex mutex_;
  std::unordered_map<void*, Counted> counted_;
};

void Install() {
  static std::once_flag once;
  std::call_once(once, [] {
    // Lives as long as any tensor may.
    LimitedAllocator::Installed() = new LimitedAllocator(c10::GetCPUAllocator());
    c10::SetCPUAllocator(LimitedAllocator::Installed(), /*priority=*/100);
  });
}

}  // namespace

AllocationLimit::AllocationLimit(int64_t bytes) : before_(current) {
  Install();
  if (current != nullptr && current->most <= bytes) return;
  current = std::make_shared<Budget>();
  current->most = bytes;
}

AllocationLimit::~AllocationLimit() { current = std::move(before_); }

}  // namespace pactory::quant
