// Wakes calls that wait for something: watchers of a job, long polls on the queue. What happens in this process and
// what the database notifies wakes them at once; each also wakes when its time is due, which covers what was missed.
// Used by WatchJob and LeaseJob. Thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <thread>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace pactory {

/// Topic of the queue: a job became ready.
inline constexpr char kQueueTopic[] = "queue";

/// Subscriptions to topics: job ids and kQueueTopic.
class Wakeups {
 public:
  Wakeups();
  ~Wakeups();

  /// Has `wake` called once, when the topic is signalled or `due` is reached, whichever is first; at once where the
  /// server is stopping. `wake` must not block; it runs on whichever thread signals, never inside this call.
  void WaitOnce(const std::string& topic, absl::Time due, std::function<void()> wake);

  /// Wakes everybody who waits for a topic.
  void Signal(const std::string& topic);

  /// Wakes everybody.
  void SignalAll();

  /// Wakes everybody, now and from now on: the server is stopping, and no call may wait any more.
  void Stop();
  bool stopping() const;

 private:
  struct Waiter {
    absl::Time due;
    std::function<void()> wake;
  };
  void RunTimer();
  void WakeIf(const std::function<bool(const std::string&, const Waiter&)>& chosen);

  mutable absl::Mutex mutex_;
  std::multimap<std::string, Waiter> waiters_ ABSL_GUARDED_BY(mutex_);
  bool changed_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread timer_;
};

}  // namespace pactory
