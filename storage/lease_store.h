// Jobs as workers see them: claim, heartbeat, checkpoint, release, finish; and the reaper that takes jobs back from
// lost workers. Every write names its lease and is refused in the same statement once the lease went to another worker.
// Only the database's clock decides what has expired. Used by WorkerService and the reaper. Thread-safe.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "pactory/v1/worker.pb.h"
#include "storage/database.h"
#include "storage/lease_ref.h"

namespace pactory {

/// What a finished job left behind, for metrics.
struct FinishedJob {
  v1::Job::State state = v1::Job::STATE_UNSPECIFIED;
  /// From the start of the last attempt to the end.
  absl::Duration ran;
};

/// What one scan of the reaper did, by job id.
struct ReapReport {
  std::vector<std::string> requeued;
  std::vector<std::string> failed;
  std::vector<std::string> cancelled;
};

/// The worker's side of the queue.
class LeaseStore {
 public:
  /// `term`: how long a lease lasts after a heartbeat.
  LeaseStore(Database* database, absl::Duration term) : database_(*database), term_(term) {}

  absl::Duration term() const { return term_; }

  /// Leases the first job of the queue to a worker; nullopt where the queue is empty. NOT_FOUND for a worker that is
  /// not registered.
  absl::StatusOr<std::optional<v1::Lease>> Claim(const std::string& worker_id);

  /// Extends a lease and stores progress; returns whether the job is to be ended. A late heartbeat is as good as any
  /// while nobody else has the job.
  absl::StatusOr<v1::HeartbeatResponse> Heartbeat(const LeaseRef& lease, const v1::Progress& progress);

  /// Returns the tenant of a leased job; ABORTED with reason `LEASE_LOST`.
  absl::StatusOr<std::string> TenantOf(const LeaseRef& lease);

  /// Makes a whole blob the job's newest checkpoint. FAILED_PRECONDITION where the blob is not whole.
  absl::Status CommitCheckpoint(const LeaseRef& lease, const std::string& sha256, int64_t step);

  /// Gives a job back to the queue; a cancelled one ends.
  absl::Status Release(const LeaseRef& lease);

  /// Publishes the artifacts and the final state in one transaction. The same outcome again is OK: the first answer may
  /// have been lost. FAILED_PRECONDITION where an artifact's blob is not whole, or for `cancelled` without a cancel.
  absl::StatusOr<FinishedJob> Finish(const LeaseRef& lease, const v1::FinishJobRequest& request);

  /// Takes back the jobs whose lease has expired: to the queue, or FAILED with reason `WORKER_LOST` once `max_attempts`
  /// workers were lost, or CANCELLED where that was asked for. An attempt over its deadline by a whole lease term is
  /// FAILED with reason `DEADLINE_EXCEEDED`.
  absl::StatusOr<ReapReport> Reap();

  /// Gives every lease one fresh term: after an outage of the server or the database nobody could send a heartbeat.
  absl::Status ExtendAll();

 private:
  Database& database_;
  const absl::Duration term_;
};

}  // namespace pactory
