// Why a running job has to end before it is done, as a signal that reaches all threads of its run. Thread-safe.
#pragma once

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "client/cancellation.h"

namespace pactory {

/// Reasons to end a run, the weakest first: a stronger one replaces a weaker.
enum class StopReason {
  kNone,
  /// A more urgent job waits; the lease is given back.
  kPreempted,
  /// The agent ends; the lease is given back.
  kShutdown,
  /// The attempt took longer than the job allows.
  kDeadline,
  /// The user asked for the end.
  kCancelled,
  /// The lease belongs to another worker; nothing of this run may be written any more.
  kLeaseLost,
};

/// The stop signal of one run.
class JobStop {
 public:
  /// Asks for the end. The strongest reason asked for so far stands.
  void Request(StopReason reason) {
    {
      absl::MutexLock lock(&mutex_);
      if (reason > reason_) reason_ = reason;
    }
    signal_.Cancel();
  }

  /// The reason, or kNone while the run may go on.
  StopReason reason() const {
    absl::MutexLock lock(&mutex_);
    return reason_;
  }

  /// Cancelled at the first request.
  Cancellation& signal() { return signal_; }

 private:
  mutable absl::Mutex mutex_;
  StopReason reason_ ABSL_GUARDED_BY(mutex_) = StopReason::kNone;
  Cancellation signal_;
};

}  // namespace pactory
