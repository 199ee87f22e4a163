#include "server/queue_glance.h"

#include "absl/time/clock.h"

namespace pactory {

bool QueueGlance::MayHoldJobs() {
  {
    absl::MutexLock lock(&mutex_);
    const absl::Time now = absl::Now();
    if (now - looked_ < every_) return held_jobs_;
    // Those who ask during the look do not wait for it.
    looked_ = now;
  }
  const absl::StatusOr<bool> seen = look_();
  absl::MutexLock lock(&mutex_);
  held_jobs_ = !seen.ok() || *seen;
  return held_jobs_;
}

}  // namespace pactory
