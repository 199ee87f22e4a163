// A one-time stop signal that reaches waits, polls and gRPC calls alike. Used by the agent and the CLI. Thread-safe.
#pragma once

#include <grpcpp/client_context.h>

#include <set>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace pactory {

/// Once cancelled, every wait returns, the file descriptor is readable, and every bound call is cancelled.
class Cancellation {
 public:
  Cancellation();
  ~Cancellation();
  Cancellation(const Cancellation&) = delete;
  Cancellation& operator=(const Cancellation&) = delete;

  /// Cancels. Later calls change nothing.
  void Cancel();

  bool cancelled() const;

  /// Waits for the cancel, at most `timeout` by the monotonic clock. Returns whether it came.
  bool WaitFor(absl::Duration timeout) const;

  /// A descriptor that poll() finds readable once cancelled. Owned by this object.
  int fd() const { return fd_; }

  /// Binds a call to the signal for the scope's life.
  class Scope {
   public:
    Scope(Cancellation& cancellation, grpc::ClientContext& context);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Cancellation& cancellation_;
    grpc::ClientContext& context_;
  };

 private:
  const int fd_;
  mutable absl::Mutex mutex_;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  std::set<grpc::ClientContext*> calls_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace pactory
