// Makes Abseil's locks known to ThreadSanitizer. Distributions build Abseil without it, so that it sees no lock and takes everything
// that one guards for a race. These stand in front of the library's own, which they call. Linked into the tests that `make tsan` builds.
#include <dlfcn.h>

#include <string>

#include "absl/synchronization/mutex.h"

extern "C" {
void __tsan_acquire(void* address);
void __tsan_release(void* address);
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
}

namespace {

// A thread that unlocks or waits looks at the conditions of others, with the lock held in a way that is not told here.
class ReadsIgnored {
 public:
  ReadsIgnored() { AnnotateIgnoreReadsBegin(__FILE__, __LINE__); }
  ~ReadsIgnored() { AnnotateIgnoreReadsEnd(__FILE__, __LINE__); }
};

#define PACTORY_TEXT_OF(name) #name
#define PACTORY_TEXT(name) PACTORY_TEXT_OF(name)

// The library's own function; `member` is what the Itanium C++ ABI makes of its class, name and parameters.
template <typename Function>
Function Own(const char* member) {
  const std::string version = PACTORY_TEXT(ABSL_OPTION_INLINE_NAMESPACE_NAME);
  const std::string symbol = "_ZN4absl" + std::to_string(version.size()) + version + member;
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, symbol.c_str()));
}

}  // namespace

namespace absl {
ABSL_NAMESPACE_BEGIN

void Mutex::Lock() {
  static const auto own = Own<void (*)(Mutex*)>("5Mutex4LockEv");
  {
    const ReadsIgnored ignored;
    own(this);
  }
  __tsan_acquire(this);
}

bool Mutex::TryLock() {
  static const auto own = Own<bool (*)(Mutex*)>("5Mutex7TryLockEv");
  const bool locked = own(this);
  if (locked) __tsan_acquire(this);
  return locked;
}

void Mutex::Unlock() {
  static const auto own = Own<void (*)(Mutex*)>("5Mutex6UnlockEv");
  __tsan_release(this);
  const ReadsIgnored ignored;
  own(this);
}

void Mutex::ReaderLock() {
  static const auto own = Own<void (*)(Mutex*)>("5Mutex10ReaderLockEv");
  {
    const ReadsIgnored ignored;
    own(this);
  }
  __tsan_acquire(this);
}

void Mutex::ReaderUnlock() {
  static const auto own = Own<void (*)(Mutex*)>("5Mutex12ReaderUnlockEv");
  __tsan_release(this);
  const ReadsIgnored ignored;
  own(this);
}

void Mutex::LockWhen(const Condition& condition) {
  static const auto own = Own<void (*)(Mutex*, const Condition&)>("5Mutex8LockWhenERKNS0_9ConditionE");
  {
    const ReadsIgnored ignored;
    own(this, condition);
  }
  __tsan_acquire(this);
}

void Mutex::Await(const Condition& condition) {
  static const auto own = Own<void (*)(Mutex*, const Condition&)>("5Mutex5AwaitERKNS0_9ConditionE");
  __tsan_release(this);
  {
    const ReadsIgnored ignored;
    own(this, condition);
  }
  __tsan_acquire(this);
}

bool Mutex::AwaitWithTimeout(const Condition& condition, Duration timeout) {
  static const auto own =
      Own<bool (*)(Mutex*, const Condition&, Duration)>("5Mutex16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE");
  __tsan_release(this);
  bool holds = false;
  {
    const ReadsIgnored ignored;
    holds = own(this, condition, timeout);
  }
  __tsan_acquire(this);
  return holds;
}

bool Mutex::AwaitWithDeadline(const Condition& condition, Time deadline) {
  static const auto own = Own<bool (*)(Mutex*, const Condition&, Time)>("5Mutex17AwaitWithDeadlineERKNS0_9ConditionENS0_4TimeE");
  __tsan_release(this);
  bool holds = false;
  {
    const ReadsIgnored ignored;
    holds = own(this, condition, deadline);
  }
  __tsan_acquire(this);
  return holds;
}

ABSL_NAMESPACE_END
}  // namespace absl
