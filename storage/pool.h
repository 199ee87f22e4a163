// A bounded pool of connections of any kind. Used by Database and BlobChunks. Thread-safe.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/error.h"

namespace pactory {

/// How busy a pool is.
struct PoolStats {
  int size = 0;
  int in_use = 0;
  int idle = 0;
  /// Callers that are waiting for a connection.
  int waiting = 0;
  /// Time all callers so far have waited.
  absl::Duration waited;
};

/// Lends connections; makes them when none is idle and fewer than `size` are out.
template <typename Connection>
class Pool {
 public:
  using Connect = std::function<absl::StatusOr<std::unique_ptr<Connection>>()>;
  using IsUsable = std::function<bool(Connection&)>;

  /// A lent connection. It goes back at the end of its life, or is closed where Discard was called.
  class Lease {
   public:
    Lease(Pool* pool, std::unique_ptr<Connection> connection) : pool_(pool), connection_(std::move(connection)) {}
    Lease(Lease&& other) noexcept
        : pool_(std::exchange(other.pool_, nullptr)), connection_(std::move(other.connection_)) {}
    Lease& operator=(Lease&&) = delete;
    ~Lease() {
      if (pool_ != nullptr) pool_->GiveBack(std::move(connection_));
    }
    Connection& operator*() { return *connection_; }
    Connection* operator->() { return connection_.get(); }
    /// Closes the connection instead of lending it again.
    void Discard() { connection_.reset(); }

   private:
    friend class Pool;
    Pool* pool_;
    std::unique_ptr<Connection> connection_;
  };

  Pool(int size, Connect connect, IsUsable is_usable)
      : size_(size), connect_(std::move(connect)), is_usable_(std::move(is_usable)) {}

  /// Returns a connection that was usable a moment ago. RESOURCE_EXHAUSTED after `wait`; UNAVAILABLE where none can be
  /// made.
  absl::StatusOr<Lease> Acquire(absl::Duration wait) {
    std::unique_ptr<Connection> connection;
    {
      absl::MutexLock lock(&mutex_);
      const absl::Time start = absl::Now();
      ++waiting_;
      const bool free = mutex_.AwaitWithTimeout(absl::Condition(this, &Pool::HasFree), wait);
      --waiting_;
      waited_ += absl::Now() - start;
      if (!free) {
        return WithReason(absl::ResourceExhaustedError("every database connection is busy; try again"), "OVERLOADED");
      }
      ++in_use_;
      if (!idle_.empty()) {
        // The one used last is the likeliest to be alive, and the others can age out.
        connection = std::move(idle_.back());
        idle_.pop_back();
      }
    }
    // From here on the lease's destructor frees the place, also where no connection can be made.
    Lease lease(this, std::move(connection));
    if (lease.connection_ != nullptr && is_usable_(*lease)) return lease;
    lease.Discard();
    auto made = connect_();
    if (!made.ok()) return made.status();
    lease.connection_ = *std::move(made);
    return lease;
  }

  /// Closes every idle connection: the server they led to is gone.
  void DropIdle() {
    std::deque<std::unique_ptr<Connection>> dropped;
    absl::MutexLock lock(&mutex_);
    dropped.swap(idle_);
  }

  PoolStats Stats() const {
    absl::MutexLock lock(&mutex_);
    return {.size = size_,
            .in_use = in_use_,
            .idle = static_cast<int>(idle_.size()),
            .waiting = waiting_,
            .waited = waited_};
  }

 private:
  void GiveBack(std::unique_ptr<Connection> connection) {
    absl::MutexLock lock(&mutex_);
    --in_use_;
    if (connection != nullptr) idle_.push_back(std::move(connection));
  }

  bool HasFree() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return in_use_ < size_; }

  const int size_;
  const Connect connect_;
  const IsUsable is_usable_;
  mutable absl::Mutex mutex_;
  std::deque<std::unique_ptr<Connection>> idle_ ABSL_GUARDED_BY(mutex_);
  int in_use_ ABSL_GUARDED_BY(mutex_) = 0;
  int waiting_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Duration waited_ ABSL_GUARDED_BY(mutex_) = absl::ZeroDuration();
};

}  // namespace pactory
