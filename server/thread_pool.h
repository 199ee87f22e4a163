// Threads for blocking database work, behind a queue of fixed length, so that gRPC's own threads never block and a
// flood of calls is refused instead of piling up. Used by every service. Thread-safe.
#pragma once

#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "absl/synchronization/mutex.h"

namespace pactory {

/// A fixed number of threads that run tasks in the order they came.
class ThreadPool {
 public:
  ThreadPool(int threads, int queue_limit);

  /// Runs what is queued, then stops.
  ~ThreadPool();

  /// Queues a task; false where the queue is full, then the task is not run.
  bool TrySubmit(std::function<void()> task);

  /// Tasks that wait for a thread.
  int QueueLength() const;

 private:
  void RunTasks();

  const size_t queue_limit_;
  mutable absl::Mutex mutex_;
  std::deque<std::function<void()>> queue_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace pactory
