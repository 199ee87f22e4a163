// The stop that threads with periodic work wait for between two rounds, by a clock that nobody sets: a step of the machine's time must
// not keep them from work. Used by the reaper and the sweeper. Thread-safe.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <mutex>

#include "absl/time/time.h"

namespace pactory {

class StopSignal {
 public:
  void Set() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      set_ = true;
    }
    changed_.notify_all();
  }

  /// Waits for the stop, at most `timeout`; returns whether it came.
  bool WaitFor(absl::Duration timeout) {
    std::unique_lock<std::mutex> lock(mutex_);
    return changed_.wait_for(lock, absl::ToChronoMilliseconds(std::min(timeout, kLongest)), [this] { return set_; });
  }

 private:
  // What the clock can count to.
  static constexpr absl::Duration kLongest = absl::Hours(24 * 365);

  std::mutex mutex_;
  std::condition_variable changed_;
  bool set_ = false;
};

}  // namespace pactory
