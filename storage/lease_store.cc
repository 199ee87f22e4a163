#include "storage/lease_store.h"

#include <pqxx/pqxx>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/error.h"
#include "base/ids.h"
#include "base/status_macros.h"
#include "storage/claim_statement.h"
#include "storage/job_rows.h"
#include "storage/tenant_share.h"
#include "storage/worker_store.h"

namespace pactory {
namespace {

constexpr char kClaimed[] = R"sql(
NULL::bigint, j.fence, mb.sha256, mb.size_bytes, tb.sha256, tb.size_bytes, t.format, eb.sha256, eb.size_bytes, e.format,
cb.sha256, j.checkpoint_step, owner.max_running IS NULL OR share.running <= owner.max_running
FROM started j CROSS JOIN share JOIN tenant owner ON owner.id = j.tenant_id LEFT JOIN job_lease l ON l.job_id = j.id
LEFT JOIN model m ON m.id = j.model_id LEFT JOIN blob mb ON mb.id = m.blob_id
LEFT JOIN dataset t ON t.id = j.train_dataset_id LEFT JOIN blob tb ON tb.id = t.blob_id
LEFT JOIN dataset e ON e.id = j.eval_dataset_id LEFT JOIN blob eb ON eb.id = e.blob_id
LEFT JOIN blob cb ON cb.id = j.checkpoint_blob_id)sql";

// The worker's time of last contact is written at most every 5 s: it is for people.
constexpr char kHeartbeat[] = R"sql(
WITH beat AS (
  UPDATE job_lease SET lease_until = now() + $3::interval, heartbeat_time = now(),
    stall_time = CASE WHEN progress IS DISTINCT FROM $4 THEN now() + stall ELSE stall_time END, progress = $4
  WHERE job_id = $1 AND fence = $2 RETURNING job_id, worker_id, preempted
), seen AS (
  UPDATE worker SET last_seen_time = now() FROM beat
  WHERE worker.id = beat.worker_id AND worker.last_seen_time < now() - interval '5 s'
)
SELECT job.state = 'CANCELLING', beat.preempted, job.stop_training FROM beat JOIN job ON job.id = beat.job_id)sql";

// The checkpoint before it is put down for removal.
constexpr char kCheckpoint[] = R"sql(
WITH held AS (
  SELECT job_id, tenant_id FROM job_lease WHERE job_id = $1 AND fence = $2 FOR UPDATE
), former AS (
  SELECT job.id, job.checkpoint_blob_id AS blob_id FROM job JOIN held ON held.job_id = job.id
), changed AS (
  UPDATE job SET checkpoint_blob_id = blob.id, checkpoint_step = $4 FROM held, blob
  WHERE job.id = held.job_id AND blob.tenant_id = held.tenant_id AND blob.sha256 = $3 AND blob.complete_time IS NOT NULL
  RETURNING job.id, blob.id AS blob_id
), superseded AS (
  INSERT INTO superseded_checkpoint (blob_id)
  SELECT former.blob_id FROM former JOIN changed ON changed.id = former.id WHERE former.blob_id <> changed.blob_id
  ON CONFLICT (blob_id) DO UPDATE SET time = now()
)
SELECT id FROM changed)sql";

constexpr char kDropLease[] =
    "DELETE FROM job_lease WHERE job_id = $1 AND fence = $2 RETURNING tenant_id, progress, charged, preempted";

// Locked until the commit, so that a cancel comes before the outcome is decided or finds the job ended. The lease's row
// is always taken before the job's; the other order could deadlock.
constexpr char kHoldJob[] = R"sql(
SELECT state = 'CANCELLING', lost_attempts, failed_attempts, max_attempts, batch_halved, spec, worker_id::text
FROM job WHERE id = $1 AND fence = $2 AND state IN ('RUNNING', 'CANCELLING') FOR UPDATE)sql";

constexpr char kEndAttempt[] = R"sql(
UPDATE job SET state = $3::job_state, progress = $4,
  error_reason = CASE WHEN $3 = 'FAILED' THEN $5 END, error_message = CASE WHEN $3 = 'FAILED' THEN nullif($6, '') END,
  lost_attempts = lost_attempts + $7::integer, failed_attempts = failed_attempts + $8::integer,
  end_time = CASE WHEN $3 <> 'PENDING' THEN now() END
WHERE id = $1 AND fence = $2 AND state IN ('RUNNING', 'CANCELLING')
RETURNING extract(epoch FROM now() - start_time))sql";

// An ended job resumes nothing, and one with another batch starts anew.
constexpr char kDropCheckpoint[] = R"sql(
WITH former AS (
  SELECT id, checkpoint_blob_id AS blob_id FROM job WHERE id = $1 AND checkpoint_blob_id IS NOT NULL
), dropped AS (
  UPDATE job SET checkpoint_blob_id = NULL, checkpoint_step = NULL FROM former WHERE job.id = former.id
)
INSERT INTO superseded_checkpoint (blob_id) SELECT blob_id FROM former
ON CONFLICT (blob_id) DO UPDATE SET time = now())sql";

// With jitter, so that the jobs of a host that failed do not come back together.
constexpr char kRequeue[] = R"sql(
INSERT INTO job_ready (job_id, tenant_id, worker_kind, memory_gib, priority, create_time, ready_time)
SELECT id, tenant_id, worker_kind, memory_gib, priority, create_time, now() + $2::interval * (0.5 + random() / 2)
FROM job WHERE id = $1)sql";

constexpr char kPublish[] = R"sql(
INSERT INTO artifact (job_id, name, fence, blob_id, media_type)
SELECT $1, $3, $2, blob.id, $6 FROM blob
WHERE blob.tenant_id = $4 AND blob.sha256 = $5 AND blob.complete_time IS NOT NULL RETURNING job_id)sql";

// The conditions are looked at again when a row is locked: a heartbeat that came first keeps its lease.
constexpr char kReap[] = R"sql(
WITH expired AS (
  SELECT job_id, fence FROM job_lease
  WHERE lease_until < now() OR stall_time < now() OR deadline_time + $1::interval < now()
  ORDER BY lease_until LIMIT 100 FOR UPDATE SKIP LOCKED
)
DELETE FROM job_lease l USING expired x WHERE l.job_id = x.job_id AND l.fence = x.fence
RETURNING l.job_id, l.fence, l.progress, l.lease_until < now(), l.stall_time < now(), l.tenant_id, l.charged)sql";

// Whatever could have run out while no heartbeat got through.
constexpr char kExtendAll[] = R"sql(
UPDATE job_lease SET lease_until = greatest(lease_until, now() + $1::interval),
  stall_time = greatest(stall_time, now() + $1::interval), deadline_time = greatest(deadline_time, now()))sql";

// Of each tenant whose most urgent job has waited for so long, one running job: the least urgent, and of those the one that
// loses least. Not where one of the tenant's is on its way already, nor where its worker is none for the job that waits.
constexpr char kPreempt[] = R"sql(
, victim AS (
  SELECT DISTINCT ON (line.tenant_id) l.job_id, l.fence
  FROM line JOIN job_lease l ON l.tenant_id = line.tenant_id JOIN job j ON j.id = l.job_id JOIN worker w ON w.id = l.worker_id
  WHERE line.ready_time < now() - $1::interval AND j.state = 'RUNNING' AND j.priority > line.priority
    AND (line.worker_kind = 'ANY' OR (line.worker_kind = 'GPU') = w.gpu)
    AND (line.memory_gib = 0 OR line.memory_gib <= l.memory_gib + w.job_memory_gib -
      (SELECT sum(o.memory_gib) FROM job_lease o WHERE o.worker_id = w.id))
    AND NOT EXISTS (SELECT 1 FROM job_lease o WHERE o.tenant_id = line.tenant_id AND o.preempted)
  ORDER BY line.tenant_id, line.priority, j.priority DESC, j.start_time DESC
)
UPDATE job_lease l SET preempted = true FROM victim v WHERE l.job_id = v.job_id AND l.fence = v.fence RETURNING l.job_id)sql";

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
  lease.mutable_token()->set_fence(row[16].as<int64_t>());
  if (row[17].is_null() || row[19].is_null() || row[22].is_null()) {
    return absl::DataLossError(absl::StrCat("the model or a dataset of a queued job is missing: ", lease.job().name()));
  }
  *lease.mutable_model() = RefOf(row[17], row[18], "onnx");
  *lease.mutable_train_dataset() = RefOf(row[19], row[20], row[21].as<std::string>());
  *lease.mutable_eval_dataset() = RefOf(row[22], row[23], row[24].as<std::string>());
  if (!row[25].is_null()) {
    lease.mutable_checkpoint()->set_blob(absl::StrCat("blobs/", row[25].as<std::string>()));
    lease.mutable_checkpoint()->set_step(row[26].as<int64_t>());
  }
  return lease;
}

AttemptEnd EndOf(const v1::FinishJobRequest& request) {
  if (request.has_succeeded()) return AttemptEnd::kSucceeded;
  return request.has_failed() ? AttemptEnd::kFailed : AttemptEnd::kCancelled;
}

absl::StatusOr<EndingJob> EndingJobOf(const pqxx::row& row) {
  EndingJob job = {.cancelling = row[0].as<bool>(),
                   .lost_attempts = row[1].as<int>(),
                   .failed_attempts = row[2].as<int>(),
                   .max_attempts = row[3].as<int>(),
                   .batch_halved = row[4].as<bool>()};
  if (!ParseBytes(row[5], job.spec)) return absl::DataLossError("a stored job can't be read");
  job.worker_id = TextOr(row[6]);
  return job;
}

// The lease is gone: fine where this very call ended it before and its answer was lost. What a worker brings to a job
// that was cancelled ends it CANCELLED.
absl::Status CheckEndedBefore(pqxx::transaction_base& transaction, const LeaseRef& lease, AttemptEnd end) {
  const char* state = end == AttemptEnd::kSucceeded ? "SUCCEEDED" : end == AttemptEnd::kFailed ? "FAILED" : "CANCELLED";
  const pqxx::result same = transaction.exec_params(
      "SELECT 1 FROM job WHERE id = $1 AND fence = $2 AND (state = $3::job_state OR state = 'CANCELLED')",
      lease.job_id, lease.fence, state);
  return same.empty() ? LeaseLost(lease) : absl::OkStatus();
}

absl::Status Publish(pqxx::transaction_base& transaction, const LeaseRef& lease, const std::string& tenant_id,
                     const google::protobuf::RepeatedPtrField<v1::Artifact>& artifacts) {
  for (const v1::Artifact& artifact : artifacts) {
    const pqxx::result published = transaction.exec_params(kPublish, lease.job_id, lease.fence, artifact.name(), tenant_id,
                                                           IdOf("blobs", artifact.blob()), artifact.media_type());
    if (published.empty()) {
      return WithReason(
          absl::FailedPreconditionError(absl::StrCat(
              "the artifact's blob must be uploaded first: artifact=", artifact.name(), " ", artifact.blob())),
          "BLOB_MISSING");
    }
  }
  return absl::OkStatus();
}

// Brings the job of a dropped lease where `outcome` says; returns how long the attempt ran.
absl::StatusOr<absl::Duration> EndAttempt(pqxx::transaction_base& transaction, const LeaseRef& lease,
                                          const v1::Progress& progress, const JobOutcome& outcome) {
  const pqxx::result ended = transaction.exec_params(
      kEndAttempt, lease.job_id, lease.fence, v1::Job::State_Name(outcome.state), BytesOf(progress),
      outcome.error.reason(), outcome.error.message(), outcome.lost, outcome.failed);
  if (ended.empty()) return LeaseLost(lease);
  if (outcome.halved.has_value()) {
    transaction.exec_params0("UPDATE job SET spec = $2, batch_halved = true WHERE id = $1", lease.job_id,
                             BytesOf(*outcome.halved));
  }
  if (outcome.state != v1::Job::PENDING || outcome.halved.has_value()) {
    transaction.exec_params0(kDropCheckpoint, lease.job_id);
  }
  if (outcome.state == v1::Job::PENDING) transaction.exec_params0(kRequeue, lease.job_id, IntervalOf(outcome.wait));
  LogJobEvent(transaction, lease.job_id, outcome.event, outcome.detail);
  return absl::Seconds(ended[0][0].as<double>());
}

}  // namespace

absl::StatusOr<std::optional<v1::Lease>> LeaseStore::Claim(const std::string& worker_id) {
  std::optional<v1::Lease> lease;
  bool over_limit = false;
  const absl::Status status =
      database_.TransactRepeatable("lease.claim", [&](pqxx::transaction_base& transaction) -> absl::Status {
        const pqxx::result worker = transaction.exec_params("SELECT slots FROM worker WHERE id = $1", worker_id);
        if (worker.empty()) return WorkerUnknown(worker_id);
        // Two slots of one worker must not both count on its last memory.
        if (worker[0][0].as<int>() > 1) {
          transaction.exec_params("SELECT 1 FROM worker WHERE id = $1 FOR NO KEY UPDATE", worker_id);
        }
        const pqxx::result claimed = transaction.exec_params(
            absl::StrCat("WITH RECURSIVE ", kLines, kClaimFirst, kChargeTheStart, "SELECT ", kJobColumns, kClaimed), worker_id, IntervalOf(term_));
        if (claimed.empty()) return absl::OkStatus();
        over_limit = !claimed[0][27].as<bool>();
        if (over_limit) return absl::AbortedError("another claim took the tenant's last place");
        PACTORY_ASSIGN_OR_RETURN(lease, LeaseOf(claimed[0]));
        return absl::OkStatus();
      });
  // Rolled back: the job stands in the queue as before, and the next look at it sees the tenant at its limit.
  if (over_limit) return std::nullopt;
  PACTORY_RETURN_IF_ERROR(status);
  return lease;
}

absl::StatusOr<v1::HeartbeatResponse> LeaseStore::Heartbeat(const LeaseRef& lease, const v1::Progress& progress) {
  v1::HeartbeatResponse response;
  PACTORY_RETURN_IF_ERROR(database_.Query("lease.heartbeat", [&](pqxx::transaction_base& statement) -> absl::Status {
    const pqxx::result beat =
        statement.exec_params(kHeartbeat, lease.job_id, lease.fence, IntervalOf(term_), BytesOf(progress));
    if (beat.empty()) return LeaseLost(lease);
    response.set_cancel_requested(beat[0][0].as<bool>());
    response.set_release_requested(beat[0][1].as<bool>());
    response.set_stop_training_requested(beat[0][2].as<bool>());
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
  return End(lease, AttemptEnd::kReleased, v1::FinishJobRequest()).status();
}

absl::StatusOr<FinishedJob> LeaseStore::Finish(const LeaseRef& lease, const v1::FinishJobRequest& request) {
  return End(lease, EndOf(request), request);
}

absl::StatusOr<FinishedJob> LeaseStore::End(const LeaseRef& lease, AttemptEnd end,
                                            const v1::FinishJobRequest& request) {
  FinishedJob finished;
  PACTORY_RETURN_IF_ERROR(
      database_.TransactRepeatable("lease.end", [&](pqxx::transaction_base& transaction) -> absl::Status {
        finished = FinishedJob();
        const pqxx::result dropped = transaction.exec_params(kDropLease, lease.job_id, lease.fence);
        if (dropped.empty()) {
          return end == AttemptEnd::kReleased ? LeaseLost(lease) : CheckEndedBefore(transaction, lease, end);
        }
        v1::Progress progress;
        ParseBytes(dropped[0][1], progress);
        const pqxx::result held = transaction.exec_params(kHoldJob, lease.job_id, lease.fence);
        if (held.empty()) return LeaseLost(lease);
        PACTORY_ASSIGN_OR_RETURN(const EndingJob job, EndingJobOf(held[0]));
        if (end == AttemptEnd::kCancelled && !job.cancelling) {
          return WithReason(
              absl::FailedPreconditionError(absl::StrCat(
                  "a job ends CANCELLED only after a cancel; use ReleaseJob to give it back: jobs/", lease.job_id)),
              "NOT_CANCELLED");
        }
        JobOutcome outcome = OutcomeOf(end, request.failed(), job, retry_wait_);
        if (outcome.event == "RELEASED" && dropped[0][3].as<bool>()) outcome.event = "PREEMPTED";
        if (outcome.state == v1::Job::SUCCEEDED || outcome.state == v1::Job::FAILED) {
          const auto& artifacts =
              outcome.state == v1::Job::SUCCEEDED ? request.succeeded().artifacts() : request.failed_artifacts();
          PACTORY_RETURN_IF_ERROR(Publish(transaction, lease, dropped[0][0].as<std::string>(), artifacts));
        }
        PACTORY_ASSIGN_OR_RETURN(finished.ran, EndAttempt(transaction, lease, progress, outcome));
        SettleShares(transaction, {{.tenant_id = dropped[0][0].as<std::string>(),
                                    .charged = dropped[0][2].as<double>(),
                                    .ran = absl::ToDoubleSeconds(finished.ran)}});
        finished.state = outcome.state;
        if (outcome.event == "RETRIED") finished.retried = FailureClassOf(request.failed().reason());
        return absl::OkStatus();
      }));
  return finished;
}

absl::StatusOr<std::vector<ReapedJob>> LeaseStore::Reap() {
  std::vector<ReapedJob> reaped;
  const absl::Time start = absl::Now();
  PACTORY_RETURN_IF_ERROR(
      database_.TransactRepeatable("lease.reap", [&](pqxx::transaction_base& transaction) -> absl::Status {
        reaped.clear();
        // From here on now() stands. A database that took long to come this far answered no heartbeat either.
        transaction.exec1("SELECT now()");
        if (absl::Now() - start > term_ / 4) return absl::UnavailableError("the database stood still");
        std::vector<EndedAttempt> ended;
        for (const auto& row : transaction.exec_params(kReap, IntervalOf(term_))) {
          const LeaseRef lease = {row[0].as<std::string>(), row[1].as<int64_t>()};
          v1::Progress progress;
          ParseBytes(row[2], progress);
          const AttemptEnd end = row[3].as<bool>()   ? AttemptEnd::kWorkerLost
                                 : row[4].as<bool>() ? AttemptEnd::kStalled
                                                     : AttemptEnd::kOverDeadline;
          const pqxx::result held = transaction.exec_params(kHoldJob, lease.job_id, lease.fence);
          if (held.empty()) continue;
          PACTORY_ASSIGN_OR_RETURN(const EndingJob job, EndingJobOf(held[0]));
          const JobOutcome outcome = OutcomeOf(end, v1::JobError(), job, retry_wait_);
          PACTORY_ASSIGN_OR_RETURN(const absl::Duration ran, EndAttempt(transaction, lease, progress, outcome));
          ended.push_back({.tenant_id = row[5].as<std::string>(),
                           .charged = row[6].as<double>(),
                           .ran = absl::ToDoubleSeconds(ran)});
          reaped.push_back({.id = lease.job_id, .end = end, .state = outcome.state, .detail = outcome.detail});
        }
        SettleShares(transaction, ended);
        return absl::OkStatus();
      }));
  return reaped;
}

absl::StatusOr<std::vector<std::string>> LeaseStore::Preempt(absl::Duration waited) {
  std::vector<std::string> jobs;
  PACTORY_RETURN_IF_ERROR(database_.Query("lease.preempt", [&](pqxx::transaction_base& statement) {
    for (const auto& row : statement.exec_params(absl::StrCat("WITH RECURSIVE ", kLines, kPreempt), IntervalOf(waited))) jobs.push_back(row[0].as<std::string>());
    return absl::OkStatus();
  }));
  return jobs;
}

absl::Status LeaseStore::ExtendAll() {
  return database_.Query("lease.extend_all", [&](pqxx::transaction_base& statement) {
    statement.exec_params0(kExtendAll, IntervalOf(term_));
    return absl::OkStatus();
  });
}

}  // namespace pactory
