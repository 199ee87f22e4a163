// Jobs as workers see them: claim, heartbeat, checkpoint, release, finish; and the reaper that takes jobs back from
// lost workers. Every write names its lease and is refused in the same statement once the lease went to another worker.
// Only the database's clock decides what has expired. Used by WorkerService and the reaper. Thread-safe.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "pactory/v1/worker.pb.h"
#include "storage/attempt_end.h"
#include "storage/database.h"
#include "storage/lease_ref.h"

namespace pactory {

/// What the end of an attempt came to, for metrics.
struct FinishedJob {
  /// Of the job: PENDING where it is tried again. Not set where an earlier call had ended the attempt.
  v1::Job::State state = v1::Job::STATE_UNSPECIFIED;
  /// From the start of the attempt to its end.
  absl::Duration ran;
  /// Set where a failed attempt is followed by another.
  std::optional<FailureClass> retried;
};

/// A job that the reaper took from its worker.
struct ReapedJob {
  std::string id;
  /// kWorkerLost, kStalled or kOverDeadline.
  AttemptEnd end = AttemptEnd::kWorkerLost;
  v1::Job::State state = v1::Job::STATE_UNSPECIFIED;
  /// Why it FAILED or is tried again, where there is more to say than `end`.
  std::string detail;
};

class JointStatement;

/// The worker's side of the queue.
class LeaseStore {
 public:
  using SteadyClock = std::chrono::steady_clock;

  /// `term`: how long a lease lasts after a heartbeat. `retry_wait`: how long a job whose attempt failed waits for the
  /// second one; it doubles with each failure, and a random half of it is left out.
  LeaseStore(Database* database, absl::Duration term, absl::Duration retry_wait = absl::Seconds(10));
  ~LeaseStore();

  absl::Duration term() const { return term_; }

  /// Leases the next job that a worker can serve: of the tenant that had least of the workers by its weight (tenant_share.h),
  /// is within its limit of running jobs, and has a job that fits the worker's kind and free memory; there by priority and
  /// age. nullopt where there is none. NOT_FOUND for a worker that is not registered.
  absl::StatusOr<std::optional<v1::Lease>> Claim(const std::string& worker_id);

  /// Returns whether a job stands in the queue that might be leased now, by whichever worker.
  absl::StatusOr<bool> AnyReady();

  /// Extends a lease and stores progress, which keeps the job from counting as stalled where it is new; returns whether
  /// the job is to be ended. A late heartbeat is as good as any while nobody else has the job.
  absl::StatusOr<v1::HeartbeatResponse> Heartbeat(const LeaseRef& lease, const v1::Progress& progress);

  /// Returns the tenant of a leased job; ABORTED with reason `LEASE_LOST`.
  absl::StatusOr<std::string> TenantOf(const LeaseRef& lease);

  /// Makes a whole blob the job's newest checkpoint; the one before is left to the sweep. FAILED_PRECONDITION where the
  /// blob is not whole.
  absl::Status CommitCheckpoint(const LeaseRef& lease, const std::string& sha256, int64_t step);

  /// Gives a job back to the queue; a cancelled one ends.
  absl::Status Release(const LeaseRef& lease);

  /// Ends an attempt in one transaction: publishes the artifacts with the state SUCCEEDED, or the report with FAILED, or
  /// queues the job again, as OutcomeOf says. A job that was cancelled ends CANCELLED and publishes nothing, whatever the
  /// worker brings.
  /// The same outcome again is OK: the first answer may have been lost. FAILED_PRECONDITION where an artifact's blob is
  /// not whole, or for `cancelled` without a cancel.
  absl::StatusOr<FinishedJob> Finish(const LeaseRef& lease, const v1::FinishJobRequest& request);

  /// Takes back the jobs whose lease has expired, whose attempt shows no progress, or whose attempt is over its deadline
  /// by a whole lease term; at most 100. OutcomeOf says what becomes of them. UNAVAILABLE where it took so long from `since` on that
  /// workers may have been heard of too late, or where the database's clock went ahead by a step since the last call.
  absl::StatusOr<std::vector<ReapedJob>> Reap(SteadyClock::time_point since = SteadyClock::now());

  /// Asks for the return of running jobs whose tenant has a more urgent one that has waited for `waited`: at most one of each
  /// tenant at a time. Returns their ids; the workers hear of it with their next heartbeat.
  absl::StatusOr<std::vector<std::string>> Preempt(absl::Duration waited);

  /// Gives every lease one fresh term: after an outage of the server or the database nobody could send a heartbeat.
  absl::Status ExtendAll();

 private:
  absl::Status CheckClocks(pqxx::transaction_base& transaction, SteadyClock::time_point since);
  absl::StatusOr<FinishedJob> End(const LeaseRef& lease, AttemptEnd end, const v1::FinishJobRequest& request);

  Database& database_;
  const absl::Duration term_;
  const absl::Duration retry_wait_;
  const std::unique_ptr<JointStatement> claims_;
  absl::Mutex mutex_;
  // How far the database's clock was ahead of this machine's steady one at the last scan.
  std::optional<absl::Duration> clock_ahead_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace pactory
