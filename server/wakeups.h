// Wakes calls that wait for something: watchers of a job, long polls on the queue. What happens in this process and
// what the database notifies wakes them at once; each also wakes when its time is due, which covers what was missed.
// Watchers of a job all want to hear of it; of the polls only one gets a job, so they take turns. Used by WatchJob and
// LeaseJob. Thread-safe.
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

  /// What a waiter is woken with: the number of the turn that is its own, 0 where it is nobody's turn.
  using Wake = std::function<void(int64_t turn)>;

  /// Has `wake` called once, when the topic is signalled or `due` is reached, whichever is first; at once where the
  /// server is stopping. `wake` must not block; it runs on whichever thread signals, never inside this call.
  void WaitOnce(const std::string& topic, absl::Time due, Wake wake);

  /// As WaitOnce, for a topic whose waiters take turns. `since`: Moment() from before the caller looked at what it waits for; a
  /// turn that began after it wakes it at once.
  void WaitForTurn(const std::string& topic, int64_t since, absl::Time due, Wake wake);
  int64_t Moment() const;

  /// Wakes everybody who waits for a topic.
  void Signal(const std::string& topic);

  /// Wakes whoever waits longest for a topic.
  void BeginTurn(const std::string& topic);

  /// Wakes the next of those who waited when a turn began.
  void PassOn(const std::string& topic, int64_t turn);

  /// Wakes everybody.
  void SignalAll();

  /// Wakes everybody, now and from now on: the server is stopping, and no call may wait any more.
  void Stop();
  bool stopping() const;

 private:
  struct Waiter {
    absl::Time due;
    Wake wake;
    int64_t since = 0;
  };
  void RunTimer();
  void WakeIf(const std::function<bool(const std::string&, const Waiter&)>& chosen);

  mutable absl::Mutex mutex_;
  // Those of one topic in the order they came.
  std::multimap<std::string, Waiter> waiters_ ABSL_GUARDED_BY(mutex_);
  // Counts waits and turns.
  int64_t now_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<std::string, int64_t> newest_turn_ ABSL_GUARDED_BY(mutex_);
  bool changed_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread timer_;
};

}  // namespace pactory
