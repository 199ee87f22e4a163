// An answer of the database that is read anew for those who ask, on a thread of its own: nobody waits longer than `patience`, also
// where the database stands still and a read never ends. Used by HttpPages. Thread-safe.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/status/statusor.h"

namespace pactory {

template <typename Answer>
class FreshAnswer {
 public:
  using Clock = std::chrono::steady_clock;
  struct Limits {
    /// An answer is read at most so often, however many ask.
    Clock::duration every = std::chrono::seconds(1);
    /// How long a read may keep those waiting who ask.
    Clock::duration patience = std::chrono::milliseconds(1500);
    /// How old the last answer may be that they get then.
    Clock::duration good_for = Clock::duration::zero();
  };

  FreshAnswer(std::function<absl::StatusOr<Answer>()> read, Limits limits)
      : read_(std::move(read)), limits_(limits), thread_([this] { Run(); }) {}

  /// Waits for a read under way.
  ~FreshAnswer() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      closed_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  /// Returns what was read last, a new answer where that is older than `every`. UNAVAILABLE where none comes in time.
  absl::StatusOr<Answer> Get() {
    std::unique_lock<std::mutex> lock(mutex_);
    if (reads_ > 0 && Clock::now() - read_time_ <= limits_.every) return answer_;
    if (!wanted_) {
      wanted_ = true;
      wanted_since_ = Clock::now();
      changed_.notify_all();
    }
    const int64_t before = reads_;
    changed_.wait_until(lock, wanted_since_ + limits_.patience, [&] { return reads_ != before || closed_; });
    if (reads_ != before || (reads_ > 0 && Clock::now() - read_time_ <= limits_.good_for)) return answer_;
    return absl::UnavailableError("the database does not answer");
  }

 private:
  void Run() {
    std::unique_lock<std::mutex> lock(mutex_);
    while (true) {
      changed_.wait(lock, [this] { return wanted_ || closed_; });
      if (closed_) return;
      lock.unlock();
      absl::StatusOr<Answer> answer = read_();
      lock.lock();
      answer_ = std::move(answer);
      read_time_ = Clock::now();
      ++reads_;
      wanted_ = false;
      changed_.notify_all();
    }
  }

  const std::function<absl::StatusOr<Answer>()> read_;
  const Limits limits_;
  std::mutex mutex_;
  std::condition_variable changed_;
  absl::StatusOr<Answer> answer_;
  Clock::time_point read_time_;
  int64_t reads_ = 0;
  // A read is asked for, or under way.
  bool wanted_ = false;
  Clock::time_point wanted_since_;
  bool closed_ = false;
  std::thread thread_;
};

}  // namespace pactory
