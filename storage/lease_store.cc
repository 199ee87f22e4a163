#include "storage/lease_store.h"

#include <pqxx/pqxx>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/ids.h"
#include "base/status_macros.h"
#include "storage/job_rows.h"

namespace pactory {
namespace {

// One statement is one transaction: the job leaves the queue, starts and is leased, or none of it.
constexpr char kClaim[] = R"sql(
WITH first AS MATERIALIZED (
  SELECT job_id FROM job_ready ORDER BY priority, create_time, job_id LIMIT 1 FOR UPDATE SKIP LOCKED
), taken AS (
  DELETE FROM job_ready USING first WHERE job_ready.job_id = first.job_id RETURNING job_ready.job_id
), started AS (
  UPDATE job SET state = 'RUNNING', attempt = attempt + 1, fence = fence + 1, worker_id = $1::uuid,
    start_time = now(), progress = NULL
  FROM taken WHERE job.id = taken.job_id AND job.state = 'PENDING' RETURNING job.*
), leased AS (
  INSERT INTO job_lease (job_id, fence, tenant_id, worker_id, lease_until, deadline_time)
  SELECT id, fence, tenant_id, worker_id, now() + $2::interval, now() + deadline FROM started
), logged AS (
  INSERT INTO job_event (job_id, kind, fence, worker_id) SELECT id, 'LEASED', fence, worker_id FROM started
)
)sql";

constexpr char kClaimed[] = R"sql(
NULL::bigint, j.fence, mb.sha256, mb.size_bytes, tb.sha256, tb.size_bytes, t.format, eb.sha256, eb.size_bytes, e.format,
cb.sha256, j.checkpoint_step
FROM started j LEFT JOIN job_lease l ON l.job_id = j.id
LEFT JOIN model m ON m.id = j.model_id LEFT JOIN blob mb ON mb.id = m.blob_id
LEFT JOIN dataset t ON t.id = j.train_dataset_id LEFT JOIN blob tb ON tb.id = t.blob_id
LEFT JOIN dataset e ON e.id = j.eval_dataset_id LEFT JOIN blob eb ON eb.id = e.blob_id
LEFT JOIN blob cb ON cb.id = j.checkpoint_blob_id)sql";

// The worker's time of last contact is written at most every 5 s: it is for people.
constexpr char kHeartbeat[] = R"sql(
WITH beat AS (
  UPDATE job_lease SET lease_until = now() + $3::interval, heartbeat_time = now(), progress = $4
  WHERE job_id = $1 AND fence = $2 RETURNING job_id, worker_id
), seen AS (
  UPDATE worker SET last_seen_time = now() FROM beat
  WHERE worker.id = beat.worker_id AND worker.last_seen_time < now() - interval '5 s'
)
SELECT job.state = 'CANCELLING' FROM beat JOIN job ON job.id = beat.job_id)sql";

constexpr char kCheckpoint[] = R"sql(
WITH held AS (
  SELECT job_id, tenant_id FROM job_lease WHERE job_id = $1 AND fence = $2 FOR UPDATE
)
UPDATE job SET checkpoint_blob_id = blob.id, checkpoint_step = $4 FROM held, blob
WHERE job.id = held.job_id AND blob.tenant_id = held.tenant_id AND blob.sha256 = $3 AND blob.complete_time IS NOT NULL
RETURNING job.id)sql";

constexpr char kEndLease[] = "DELETE FROM job_lease WHERE job_id = $1 AND fence = $2 RETURNING tenant_id, progress";

constexpr char kRelease[] = R"sql(
UPDATE job SET state = CASE WHEN state = 'CANCELLING' THEN 'CANCELLED' ELSE 'PENDING' END::job_state,
  end_time = CASE WHEN state = 'CANCELLING' THEN now() END
WHERE id = $1 AND fence = $2 AND state IN ('RUNNING', 'CANCELLING') RETURNING state)sql";

constexpr char kRequeue[] = R"sql(
INSERT INTO job_ready (job_id, tenant_id, priority, create_time)
SELECT id, tenant_id, priority, create_time FROM job WHERE id = $1)sql";

constexpr char kPublish[] = R"sql(
INSERT INTO artifact (job_id, name, fence, blob_id, media_type)
SELECT $1, $3, $2, blob.id, $6 FROM blob
WHERE blob.tenant_id = $4 AND blob.sha256 = $5 AND blob.complete_time IS NOT NULL RETURNING job_id)sql";

// The state is guarded here, so that a job which is not cancelled can't end so, and an ended one can't end again.
constexpr char kFinish[] = R"sql(
UPDATE job SET state = $3::job_state, end_time = now(), progress = $4, error_reason = nullif($5, ''),
  error_message = nullif($6, ''),
  checkpoint_blob_id = NULL, checkpoint_step = NULL
WHERE id = $1 AND fence = $2 AND (state = 'CANCELLING' OR (state = 'RUNNING' AND $3 <> 'CANCELLED'))
RETURNING extract(epoch FROM end_time - start_time))sql";

// The guard is looked at again when the row is deleted: a heartbeat that came first keeps its lease.
constexpr char kReap[] = R"sql(
WITH expired AS (
  SELECT job_id, fence FROM job_lease
  WHERE lease_until < now() OR deadline_time + $1::interval < now()
  ORDER BY lease_until LIMIT 100 FOR UPDATE SKIP LOCKED
), dropped AS (
  DELETE FROM job_lease l USING expired x WHERE l.job_id = x.job_id AND l.fence = x.fence
  RETURNING l.job_id, l.fence, l.progress, l.lease_until < now() AS lost
)
UPDATE job SET
  state = CASE WHEN state = 'CANCELLING' THEN 'CANCELLED'
               WHEN NOT lost OR lost_attempts + 1 >= max_attempts THEN 'FAILED'
               ELSE 'PENDING' END::job_state,
  error_reason = CASE WHEN state = 'CANCELLING' THEN NULL WHEN NOT lost THEN 'DEADLINE_EXCEEDED'
                      WHEN lost_attempts + 1 >= max_attempts THEN 'WORKER_LOST' END,
  error_message = CASE WHEN state = 'CANCELLING' THEN NULL
    WHEN NOT lost THEN 'the attempt took longer than the job''s deadline: ' || deadline
    WHEN lost_attempts + 1 >= max_attempts THEN 'the job lost ' || (lost_attempts + 1)
      || ' worker(s) while it ran and is given up; see the logs of workers/' || coalesce(worker_id::text, '?')
      || ' for the reason, then submit it again' END,
  end_time = CASE WHEN state = 'CANCELLING' OR NOT lost OR lost_attempts + 1 >= max_attempts THEN now() END,
  lost_attempts = lost_attempts + lost::integer,
  progress = dropped.progress
FROM dropped WHERE job.id = dropped.job_id AND job.fence = dropped.fence AND job.state IN ('RUNNING', 'CANCELLING')
RETURNING job.id, job.state)sql";

std::string IntervalOf(absl::Duration duration) { return absl::StrCat(absl::ToInt64Milliseconds(duration), " ms"); }

v1::BlobRef RefOf(const pqxx::field& sha256, const pqxx::field& size, const std::string& format) {
  v1::BlobRef ref;
  ref.set_blob(absl::StrCat("blobs/", sha256.as<std::string>()));
  ref.set_size_bytes(size.as<int64_t>());
  ref.set_format(absl::AsciiStrToLower(format));
  return ref;
}

absl::StatusOr<v1::Lease> LeaseOf(const pqxx::row& row) {
  v1::Lease lease;
  PACTORY_ASSIGN_OR_RETURN(*lease.mutable_job(), JobOf(row));
  lease.mutable_token()->set_job(lease.job().name());
  lease.mutable_token()->set_fence(row[14].as<int64_t>());
  if (row[15].is_null() || row[17].is_null() || row[20].is_null()) {
    return absl::DataLossError(absl::StrCat("the model or a dataset of a queued job is missing: ", lease.job().name()));
  }
  *lease.mutable_model() = RefOf(row[15], row[16], "onnx");
  *lease.mutable_train_dataset() = RefOf(row[17], row[18], row[19].as<std::string>());
  *lease.mutable_eval_dataset() = RefOf(row[20], row[21], row[22].as<std::string>());
  if (!row[23].is_null()) {
    lease.mutable_checkpoint()->set_blob(absl::StrCat("blobs/", row[23].as<std::string>()));
    lease.mutable_checkpoint()->set_step(row[24].as<int64_t>());
  }
  return lease;
}

v1::Job::State OutcomeOf(const v1::FinishJobRequest& request) {
  if (request.has_succeeded()) return v1::Job::SUCCEEDED;
  return request.has_failed() ? v1::Job::FAILED : v1::Job::CANCELLED;
}

// The lease is gone: fine where this very call ended it before and its answer was lost.
absl::Status CheckEndedBefore(pqxx::transaction_base& transaction, const LeaseRef& lease, v1::Job::State outcome) {
  const pqxx::result same =
      transaction.exec_params("SELECT 1 FROM job WHERE id = $1 AND fence = $2 AND state = $3::job_state", lease.job_id,
                              lease.fence, v1::Job::State_Name(outcome));
  return same.empty() ? LeaseLost(lease) : absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::optional<v1::Lease>> LeaseStore::Claim(const std::string& worker_id) {
  std::optional<v1::Lease> lease;
  PACTORY_RETURN_IF_ERROR(
      database_.TransactRepeatable("lease.claim", [&](pqxx::transaction_base& transaction) -> absl::Status {
        const pqxx::result claimed = transaction.exec_params(absl::StrCat(kClaim, "SELECT ", kJobColumns, kClaimed),
                                                             worker_id, IntervalOf(term_));
        if (claimed.empty()) return absl::OkStatus();
        PACTORY_ASSIGN_OR_RETURN(lease, LeaseOf(claimed[0]));
        return absl::OkStatus();
      }));
  return lease;
}

absl::StatusOr<v1::HeartbeatResponse> LeaseStore::Heartbeat(const LeaseRef& lease, const v1::Progress& progress) {
  v1::HeartbeatResponse response;
  PACTORY_RETURN_IF_ERROR(database_.Query("lease.heartbeat", [&](pqxx::transaction_base& statement) -> absl::Status {
    const pqxx::result beat =
        statement.exec_params(kHeartbeat, lease.job_id, lease.fence, IntervalOf(term_), BytesOf(progress));
    if (beat.empty()) return LeaseLost(lease);
    response.set_cancel_requested(beat[0][0].as<bool>());
    return absl::OkStatus();
  }));
  return response;
}

absl::StatusOr<std::string> LeaseStore::TenantOf(const LeaseRef& lease) {
  std::string tenant_id;
  PACTORY_RETURN_IF_ERROR(database_.Query("lease.tenant", [&](pqxx::transaction_base& statement) -> absl::Status {
    const pqxx::result held = statement.exec_params("SELECT tenant_id FROM job_lease WHERE job_id = $1 AND fence = $2",
                                                    lease.job_id, lease.fence);
    if (held.empty()) return LeaseLost(lease);
    tenant_id = held[0][0].as<std::string>();
    return absl::OkStatus();
  }));
  return tenant_id;
}

absl::Status LeaseStore::CommitCheckpoint(const LeaseRef& lease, const std::string& sha256, int64_t step) {
  const absl::Status committed =
      database_.Query("lease.checkpoint", [&](pqxx::transaction_base& statement) -> absl::Status {
        const pqxx::result changed = statement.exec_params(kCheckpoint, lease.job_id, lease.fence, sha256, step);
        return changed.empty() ? absl::NotFoundError("") : absl::OkStatus();
      });
  if (!absl::IsNotFound(committed)) return committed;
  PACTORY_RETURN_IF_ERROR(TenantOf(lease).status());
  return WithReason(
      absl::FailedPreconditionError(absl::StrCat("the checkpoint's blob must be uploaded first: blobs/", sha256)),
      "BLOB_MISSING");
}

absl::Status LeaseStore::Release(const LeaseRef& lease) {
  return database_.TransactRepeatable("lease.release", [&](pqxx::transaction_base& transaction) -> absl::Status {
    if (transaction.exec_params(kEndLease, lease.job_id, lease.fence).empty()) return LeaseLost(lease);
    const pqxx::result released = transaction.exec_params(kRelease, lease.job_id, lease.fence);
    if (released.empty()) return LeaseLost(lease);
    const auto state = released[0][0].as<std::string>();
    if (state == "PENDING") transaction.exec_params0(kRequeue, lease.job_id);
    LogJobEvent(transaction, lease.job_id, state == "PENDING" ? "RELEASED" : state);
    return absl::OkStatus();
  });
}

absl::StatusOr<FinishedJob> LeaseStore::Finish(const LeaseRef& lease, const v1::FinishJobRequest& request) {
  FinishedJob finished;
  finished.state = OutcomeOf(request);
  const std::string state = v1::Job::State_Name(finished.state);
  PACTORY_RETURN_IF_ERROR(
      database_.TransactRepeatable("lease.finish", [&](pqxx::transaction_base& transaction) -> absl::Status {
        const pqxx::result ended = transaction.exec_params(kEndLease, lease.job_id, lease.fence);
        if (ended.empty()) return CheckEndedBefore(transaction, lease, finished.state);
        v1::Progress progress;
        ParseBytes(ended[0][1], progress);
        for (const v1::Artifact& artifact : request.succeeded().artifacts()) {
          const pqxx::result published = transaction.exec_params(kPublish, lease.job_id, lease.fence, artifact.name(),
                                                                 ended[0][0].as<std::string>(),
                                                                 IdOf("blobs", artifact.blob()), artifact.media_type());
          if (published.empty()) {
            return WithReason(
                absl::FailedPreconditionError(absl::StrCat(
                    "the artifact's blob must be uploaded first: artifact=", artifact.name(), " ", artifact.blob())),
                "BLOB_MISSING");
          }
        }
        const pqxx::result changed =
            transaction.exec_params(kFinish, lease.job_id, lease.fence, state, BytesOf(progress),
                                    request.failed().reason(), request.failed().message());
        if (changed.empty()) {
          return WithReason(
              absl::FailedPreconditionError(absl::StrCat(
                  "a job ends CANCELLED only after a cancel; use ReleaseJob to give it back: jobs/", lease.job_id)),
              "NOT_CANCELLED");
        }
        finished.ran = absl::Seconds(changed[0][0].as<double>());
        LogJobEvent(transaction, lease.job_id, state);
        return absl::OkStatus();
      }));
  return finished;
}

absl::StatusOr<ReapReport> LeaseStore::Reap() {
  ReapReport report;
  PACTORY_RETURN_IF_ERROR(database_.TransactRepeatable("lease.reap", [&](pqxx::transaction_base& transaction) {
    for (const auto& row : transaction.exec_params(kReap, IntervalOf(term_))) {
      const auto id = row[0].as<std::string>();
      const auto state = row[1].as<std::string>();
      if (state == "PENDING") transaction.exec_params0(kRequeue, id);
      LogJobEvent(transaction, id, state == "PENDING" ? "WORKER_LOST" : state);
      auto& ids = state == "PENDING" ? report.requeued : state == "FAILED" ? report.failed : report.cancelled;
      ids.push_back(id);
    }
    return absl::OkStatus();
  }));
  return report;
}

absl::Status LeaseStore::ExtendAll() {
  return database_.Query("lease.extend_all", [&](pqxx::transaction_base& statement) {
    statement.exec_params0("UPDATE job_lease SET lease_until = greatest(lease_until, now() + $1::interval)",
                           IntervalOf(term_));
    return absl::OkStatus();
  });
}

}  // namespace pactory
