// Whether jobs stand in the queue, looked up once in a while for all idle workers of a server together: a thousand of them cost the
// database no more than one. Used by LeaseJob. Thread-safe.
#pragma once

#include <functional>

#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace pactory {

/// What the last look at the queue saw.
class QueueGlance {
 public:
  /// `look` returns whether a job stands in the queue; it is called at most once in `every`, by whoever asks then.
  QueueGlance(std::function<absl::StatusOr<bool>()> look, absl::Duration every) : look_(std::move(look)), every_(every) {}

  /// Returns what was seen, at most `every` and one look ago. A look that failed counts as a job: the claim says what is wrong.
  bool MayHoldJobs();

 private:
  const std::function<absl::StatusOr<bool>()> look_;
  const absl::Duration every_;
  absl::Mutex mutex_;
  absl::Time looked_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  bool held_jobs_ ABSL_GUARDED_BY(mutex_) = true;
};

}  // namespace pactory
