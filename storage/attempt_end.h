// What becomes of a job when one of its attempts ends: the rules of retries, in one place and without a database. Used by
// LeaseStore. Stateless.
#pragma once

#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "pactory/v1/job.pb.h"

namespace pactory {

/// Workers that a job may lose before it is parked, whatever its max_attempts: it is likelier that the job kills them
/// than that so many hosts fail.
inline constexpr int kPoisonLosses = 3;

/// How an attempt ended.
enum class AttemptEnd {
  kSucceeded,
  /// The trainer or the agent reported an error.
  kFailed,
  /// The worker let go after a cancel.
  kCancelled,
  /// The worker gave the job back.
  kReleased,
  /// The lease ran out.
  kWorkerLost,
  /// The lease was kept, and the attempt made no progress for longer than the job allows.
  kStalled,
  /// The attempt was over its deadline, and its worker did not end it.
  kOverDeadline,
};

/// What of an attempt's error is worth another attempt.
enum class FailureClass {
  /// The model, the data, the config or the result: the same again would fail again.
  kInput,
  /// Worth one more attempt with half the batch.
  kOutOfMemory,
  /// The worker, the trainer or the host.
  kInternal,
};

/// Returns the class of a JobError's reason.
FailureClass FailureClassOf(absl::string_view reason);

/// A class's name for metrics: `input`, `out_of_memory`, `internal`.
absl::string_view FailureClassName(FailureClass failure_class);

/// A job whose attempt ends, as it stands in the database.
struct EndingJob {
  /// A cancel was asked for.
  bool cancelling = false;
  int lost_attempts = 0;
  int failed_attempts = 0;
  int max_attempts = 0;
  bool batch_halved = false;
  v1::JobSpec spec;
  /// For the message of a lost worker.
  std::string worker_id;
};

/// What becomes of it.
struct JobOutcome {
  /// PENDING, SUCCEEDED, FAILED or CANCELLED.
  v1::Job::State state = v1::Job::STATE_UNSPECIFIED;
  /// Set where the state is FAILED.
  v1::JobError error;
  /// How the counts change.
  int lost = 0;
  int failed = 0;
  /// The time to wait before the next attempt, without jitter.
  absl::Duration wait;
  /// The spec of the next attempt, where it is another one: with half the batch, and so without the checkpoint.
  std::optional<v1::JobSpec> halved;
  /// Name and detail of the line in the job's history.
  std::string event;
  std::string detail;
};

/// Returns what becomes of a job. `error` is what the worker reported, for kFailed. `first_wait` is the time before the
/// second attempt of a job that failed once; it doubles with each failure, up to 10 minutes.
JobOutcome OutcomeOf(AttemptEnd end, const v1::JobError& error, const EndingJob& job, absl::Duration first_wait);

}  // namespace pactory
