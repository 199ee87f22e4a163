// Waiting times between attempts: doubling, capped, with jitter so that many clients don't return at once. Not
// thread-safe.
#pragma once

#include <algorithm>

#include "absl/random/random.h"
#include "absl/time/time.h"

namespace pactory {

/// Yields the waiting times of one series of attempts.
class Backoff {
 public:
  explicit Backoff(absl::Duration first = absl::Milliseconds(250), absl::Duration longest = absl::Seconds(10))
      : first_(first), longest_(longest), next_(first) {}

  /// Returns the time to wait now: half to all of the present step.
  absl::Duration Next() {
    const absl::Duration step = next_;
    next_ = std::min(next_ * 2, longest_);
    return step * absl::Uniform(random_, 0.5, 1.0);
  }

  /// Starts anew, after a success.
  void Reset() { next_ = first_; }

 private:
  const absl::Duration first_;
  const absl::Duration longest_;
  absl::Duration next_;
  absl::BitGen random_;
};

}  // namespace pactory
