#include "tests/workers/agent/stepped_clock.h"

#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <atomic>

static std::atomic<int64_t> seconds_ahead = 0;

// Both in place of the C library's: abseil asks the one for the time and the other for the end of a wait.
extern "C" int clock_gettime(clockid_t clock, timespec* time) noexcept {
  const long result = syscall(SYS_clock_gettime, clock, time);
  if (result == 0 && clock == CLOCK_REALTIME) time->tv_sec += seconds_ahead;
  return static_cast<int>(result);
}

extern "C" int gettimeofday(timeval* time, void*) noexcept {
  timespec now;
  const int result = clock_gettime(CLOCK_REALTIME, &now);
  *time = {now.tv_sec, now.tv_nsec / 1000};
  return result;
}

namespace pactory {

SteppedClock::SteppedClock(absl::Duration ahead) { seconds_ahead = absl::ToInt64Seconds(ahead); }

SteppedClock::~SteppedClock() { seconds_ahead = 0; }

}  // namespace pactory
