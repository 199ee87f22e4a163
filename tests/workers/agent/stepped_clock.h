// The system's clock as one meets it that is set back in the middle of a wait. For the agent's tests.
#pragma once

#include "absl/time/time.h"

namespace pactory {

/// While it lives this program, unlike the kernel, sees the system's clock ahead. To a wait until a time of day that is a clock
/// which is set back by as much once the wait has begun.
class SteppedClock {
 public:
  explicit SteppedClock(absl::Duration ahead);
  ~SteppedClock();
  SteppedClock(const SteppedClock&) = delete;
  SteppedClock& operator=(const SteppedClock&) = delete;
};

}  // namespace pactory
