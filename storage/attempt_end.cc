#include "storage/attempt_end.h"

#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"

namespace pactory {
namespace {

constexpr absl::Duration kLongestWait = absl::Minutes(10);

constexpr std::array<absl::string_view, 5> kInputReasons = {"BAD_MODEL", "BAD_DATA", "BAD_CONFIG", "UNSUPPORTED_OP",
                                                            "GATE_FAILED"};

JobOutcome Fail(JobOutcome outcome, std::string reason, std::string message) {
  outcome.state = v1::Job::FAILED;
  outcome.error.set_reason(std::move(reason));
  outcome.error.set_message(std::move(message));
  outcome.event = "FAILED";
  outcome.detail = absl::StrCat(outcome.error.reason(), ": ", outcome.error.message());
  return outcome;
}

JobOutcome TryAgain(JobOutcome outcome, std::string event, std::string detail) {
  outcome.state = v1::Job::PENDING;
  outcome.event = std::move(event);
  outcome.detail = std::move(detail);
  return outcome;
}

absl::Duration WaitAfter(int failures, absl::Duration first_wait) {
  absl::Duration wait = first_wait;
  for (int i = 1; i < failures && wait < kLongestWait; ++i) wait *= 2;
  return std::min(wait, kLongestWait);
}

bool MayHalve(const EndingJob& job) {
  const v1::TrainingConfig& training = job.spec.config().training();
  return !job.batch_halved && training.batch_size() > 1 && training.halve_batch_on_out_of_memory();
}

JobOutcome AfterLoss(const EndingJob& job) {
  JobOutcome outcome;
  outcome.lost = 1;
  const int losses = job.lost_attempts + 1;
  const std::string worker = absl::StrCat("workers/", job.worker_id.empty() ? "?" : job.worker_id);
  if (losses >= kPoisonLosses) {
    return Fail(outcome, "POISON",
                absl::StrCat("the job lost ", losses, " workers while it ran and is parked, for it may be what kills ",
                             "them; see the logs of ", worker, " for the reason, then submit it again"));
  }
  if (losses >= job.max_attempts) {
    return Fail(outcome, "WORKER_LOST",
                absl::StrCat("the job lost ", losses, " worker(s) while it ran and is given up; see the logs of ",
                             worker, " for the reason, then submit it again"));
  }
  return TryAgain(outcome, "WORKER_LOST", "");
}

JobOutcome AfterFailure(const v1::JobError& error, const EndingJob& job, absl::Duration first_wait) {
  JobOutcome outcome;
  outcome.failed = 1;
  const FailureClass failure_class = FailureClassOf(error.reason());
  const int failures = job.failed_attempts + 1;
  const bool halve = failure_class == FailureClass::kOutOfMemory && MayHalve(job);
  const bool retry = failures < job.max_attempts && (failure_class == FailureClass::kInternal || halve);
  if (!retry) return Fail(outcome, error.reason(), error.message());
  outcome.wait = WaitAfter(failures, first_wait);
  if (halve) {
    outcome.halved = job.spec;
    v1::TrainingConfig& training = *outcome.halved->mutable_config()->mutable_training();
    training.set_batch_size(training.batch_size() / 2);
  }
  return TryAgain(std::move(outcome), "RETRIED", absl::StrCat(error.reason(), ": ", error.message()));
}

v1::JobError MakeError(std::string reason, std::string message) {
  v1::JobError error;
  error.set_reason(std::move(reason));
  error.set_message(std::move(message));
  return error;
}

}  // namespace

FailureClass FailureClassOf(absl::string_view reason) {
  if (reason == "OUT_OF_MEMORY") return FailureClass::kOutOfMemory;
  // An attempt that took its whole time once would take it again.
  if (reason == "DEADLINE_EXCEEDED") return FailureClass::kInput;
  const bool input = std::find(kInputReasons.begin(), kInputReasons.end(), reason) != kInputReasons.end();
  return input ? FailureClass::kInput : FailureClass::kInternal;
}

absl::string_view FailureClassName(FailureClass failure_class) {
  switch (failure_class) {
    case FailureClass::kInput:
      return "input";
    case FailureClass::kOutOfMemory:
      return "out_of_memory";
    case FailureClass::kInternal:
      break;
  }
  return "internal";
}

JobOutcome OutcomeOf(AttemptEnd end, const v1::JobError& error, const EndingJob& job, absl::Duration first_wait) {
  JobOutcome outcome;
  // Once a cancel was acknowledged nothing is published any more, and nothing tried again.
  if (job.cancelling || end == AttemptEnd::kCancelled) {
    outcome.state = v1::Job::CANCELLED;
    outcome.event = "CANCELLED";
    outcome.lost = end == AttemptEnd::kWorkerLost ? 1 : 0;
    return outcome;
  }
  switch (end) {
    case AttemptEnd::kSucceeded:
      outcome.state = v1::Job::SUCCEEDED;
      outcome.event = "SUCCEEDED";
      return outcome;
    case AttemptEnd::kReleased:
      return TryAgain(outcome, "RELEASED", "");
    case AttemptEnd::kWorkerLost:
      return AfterLoss(job);
    case AttemptEnd::kStalled:
      return AfterFailure(MakeError("STALLED", absl::StrCat("the attempt showed no progress for the job's `stall`, ",
                                                            job.spec.stall().seconds(), " s")),
                          job, first_wait);
    case AttemptEnd::kOverDeadline:
      return AfterFailure(
          MakeError("DEADLINE_EXCEEDED", absl::StrCat("the attempt took longer than the job's deadline, ",
                                                      job.spec.deadline().seconds(), " s")),
          job, first_wait);
    case AttemptEnd::kFailed:
    case AttemptEnd::kCancelled:
      break;
  }
  return AfterFailure(error, job, first_wait);
}

}  // namespace pactory
