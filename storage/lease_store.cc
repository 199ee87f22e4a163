#include "storage/lease_store.h"

#include <pqxx/pqxx>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/ids.h"
#include "base/status_macros.h"
#include "storage/claim_statement.h"
#include "storage/end_statement.h"
#include "storage/job_rows.h"
#include "storage/joint_statement.h"
#include "storage/row_fields.h"
#include "storage/statement.h"
#include "storage/worker_store.h"

namespace pactory {
namespace {

// One row for a worker that is known, its columns null where there is no job for it.
constexpr char kClaimed[] = R"sql(
NULL::bigint, j.fence, mb.sha256, mb.size_bytes, tb.sha256, tb.size_bytes, t.format, eb.sha256, eb.size_bytes, e.format,
cb.sha256, j.checkpoint_step
FROM me LEFT JOIN started j ON true CROSS JOIN (SELECT NULL::bytea AS progress) AS l
LEFT JOIN model m ON m.id = j.model_id LEFT JOIN blob mb ON mb.id = m.blob_id
LEFT JOIN dataset t ON t.id = j.train_dataset_id LEFT JOIN blob tb ON tb.id = t.blob_id
LEFT JOIN dataset e ON e.id = j.eval_dataset_id LEFT JOIN blob eb ON eb.id = e.blob_id
LEFT JOIN blob cb ON cb.id = j.checkpoint_blob_id)sql";

constexpr Statement kAnyReady = {"lease.any_ready", "SELECT 1 FROM job_ready WHERE ready_time <= now() LIMIT 1"};

// The worker's time of last contact is written at most every 30 s: who reads it goes by minutes. The commit does not wait for the
// disk: a crash of the database may take the last heartbeat back, and a lease outlasts two. Times are counted from when the lease's row
// was had.
constexpr Statement kHeartbeat = {"lease.heartbeat", R"sql(
WITH beat AS (
  UPDATE job_lease SET lease_until = clock_timestamp() + $3::interval, heartbeat_time = clock_timestamp(),
    stall_time = CASE WHEN progress IS DISTINCT FROM $4 THEN clock_timestamp() + stall ELSE stall_time END, progress = $4
  WHERE job_id = $1 AND fence = $2 RETURNING job_id, worker_id, preempted
), seen AS (
  UPDATE worker SET last_seen_time = now() FROM beat
  WHERE worker.id = beat.worker_id AND worker.last_seen_time < now() - interval '30 s'
)
SELECT job.state = 'CANCELLING', beat.preempted, job.stop_training, set_config('synchronous_commit', 'off', true)
FROM beat JOIN job ON job.id = beat.job_id)sql"};

// The checkpoint before it is put down for removal.
constexpr Statement kCheckpoint = {"lease.checkpoint", R"sql(
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
SELECT id FROM changed)sql"};

constexpr Statement kTenantOf = {"lease.tenant", "SELECT tenant_id FROM job_lease WHERE job_id = $1 AND fence = $2"};

// What OutcomeOf goes by.
#define PACTORY_ENDING_JOB \
  "j.state, j.lost_attempts, j.failed_attempts, j.max_attempts, j.batch_halved, j.spec, j.worker_id, l.preempted "

constexpr Statement kLook = {"lease.look", "SELECT " PACTORY_ENDING_JOB
                                           "FROM job_lease l JOIN job j ON j.id = l.job_id AND j.fence = l.fence "
                                           "WHERE l.job_id = $1 AND l.fence = $2"};

constexpr char kNotWhole[] = R"sql(
SELECT a.name, a.sha256 FROM job_lease l CROSS JOIN unnest($3::text[], $4::text[]) AS a (name, sha256)
WHERE l.job_id = $1 AND l.fence = $2 AND NOT EXISTS (
  SELECT 1 FROM blob b WHERE b.tenant_id = l.tenant_id AND b.sha256 = a.sha256 AND b.complete_time IS NOT NULL) LIMIT 1)sql";

// The conditions are looked at again when a row is locked: a heartbeat that came first keeps its lease.
constexpr char kReap[] = R"sql(
WITH expired AS MATERIALIZED (
  SELECT * FROM job_lease
  WHERE lease_until < now() OR stall_time < now() OR deadline_time + $1::interval < now()
  ORDER BY lease_until LIMIT 100 FOR UPDATE SKIP LOCKED
)
SELECT )sql" PACTORY_ENDING_JOB R"sql(, l.job_id, l.fence, l.lease_until < now(), l.stall_time < now()
FROM expired l JOIN job j ON j.id = l.job_id AND j.fence = l.fence)sql";

// Whatever could have run out while no heartbeat got through.
constexpr char kExtendAll[] = R"sql(
UPDATE job_lease SET lease_until = greatest(lease_until, clock_timestamp() + $1::interval),
  stall_time = greatest(stall_time, clock_timestamp() + $1::interval),
  deadline_time = greatest(deadline_time, clock_timestamp()))sql";

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
  EndingJob job = {.cancelling = row[0].as<std::string>() == "CANCELLING",
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

// The columns of artifacts as parameters.
struct ArtifactArrays {
  std::string names;
  std::string sha256s;
  std::string media_types;
};

ArtifactArrays ArraysOf(const google::protobuf::RepeatedPtrField<v1::Artifact>& artifacts) {
  std::vector<std::string> names;
  std::vector<std::string> sha256s;
  std::vector<std::string> media_types;
  for (const v1::Artifact& artifact : artifacts) {
    names.push_back(artifact.name());
    sha256s.push_back(IdOf("blobs", artifact.blob()));
    media_types.push_back(artifact.media_type());
  }
  return {.names = ArrayOf(names), .sha256s = ArrayOf(sha256s), .media_types = ArrayOf(media_types)};
}

absl::Status CheckArtifactsAreWhole(pqxx::transaction_base& transaction, const LeaseRef& lease,
                                    const ArtifactArrays& artifacts) {
  const pqxx::result missing =
      transaction.exec_params(kNotWhole, lease.job_id, lease.fence, artifacts.names, artifacts.sha256s);
  if (missing.empty()) return absl::OkStatus();
  return WithReason(absl::FailedPreconditionError(absl::StrCat("the artifact's blob must be uploaded first: artifact=",
                                                               missing[0][0].as<std::string>(), " blobs/",
                                                               missing[0][1].as<std::string>())),
                    "BLOB_MISSING");
}

// Brings a leased job, seen as `job`, where `outcome` says; returns how long the attempt ran, nullopt where nothing was
// changed.
std::optional<absl::Duration> EndAttempt(pqxx::transaction_base& transaction, const LeaseRef& lease,
                                         const EndingJob& job, const JobOutcome& outcome,
                                         const ArtifactArrays& artifacts) {
  static const std::string* const sql =
      new std::string(absl::StrCat(kEndAttempt, kSettleTheEnd, "SELECT ran FROM ended"));
  const std::string halved =
      outcome.halved.has_value() ? "\\x" + absl::BytesToHexString(outcome.halved->SerializeAsString()) : "";
  const pqxx::result ended =
      Run(transaction, {"lease.end", sql->c_str()}, lease.job_id, lease.fence, job.cancelling ? "CANCELLING" : "RUNNING",
          v1::Job::State_Name(outcome.state), outcome.error.reason(), outcome.error.message(), outcome.lost,
          outcome.failed, halved.empty() ? nullptr : halved.c_str(), IntervalOf(outcome.wait), outcome.event,
          outcome.detail, artifacts.names, artifacts.sha256s, artifacts.media_types);
  if (ended.empty()) return std::nullopt;
  return absl::Seconds(ended[0][0].as<double>());
}

std::string ClaimSql() {
  return absl::StrCat("WITH RECURSIVE ", kLines, kClaimFirst, kChargeTheStart, kStart, "SELECT ", kJobColumns, kClaimed);
}

}  // namespace

LeaseStore::LeaseStore(Database* database, absl::Duration term, absl::Duration retry_wait)
    : database_(*database),
      term_(term),
      retry_wait_(retry_wait),
      claims_(std::make_unique<JointStatement>(database, "lease.claim", ClaimSql(), kClaimsInTurn)) {}

LeaseStore::~LeaseStore() = default;

absl::StatusOr<std::optional<v1::Lease>> LeaseStore::Claim(const std::string& worker_id) {
  PACTORY_ASSIGN_OR_RETURN(const pqxx::result claimed, claims_->Run({worker_id, IntervalOf(term_)}));
  if (claimed.empty()) return WorkerUnknown(worker_id);
  if (claimed[0][0].is_null()) return std::nullopt;
  PACTORY_ASSIGN_OR_RETURN(v1::Lease lease, LeaseOf(claimed[0]));
  return lease;
}

absl::StatusOr<bool> LeaseStore::AnyReady() {
  bool any = false;
  PACTORY_RETURN_IF_ERROR(database_.Query("lease.any_ready", [&](pqxx::transaction_base& statement) {
    any = !Run(statement, kAnyReady).empty();
    return absl::OkStatus();
  }));
  return any;
}

absl::StatusOr<v1::HeartbeatResponse> LeaseStore::Heartbeat(const LeaseRef& lease, const v1::Progress& progress) {
  v1::HeartbeatResponse response;
  PACTORY_RETURN_IF_ERROR(database_.Query("lease.heartbeat", [&](pqxx::transaction_base& statement) -> absl::Status {
    const pqxx::result beat =
        Run(statement, kHeartbeat, lease.job_id, lease.fence, IntervalOf(term_), BytesOf(progress));
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
    const pqxx::result held = Run(statement, kTenantOf, lease.job_id, lease.fence);
    if (held.empty()) return LeaseLost(lease);
    tenant_id = held[0][0].as<std::string>();
    return absl::OkStatus();
  }));
  return tenant_id;
}

absl::Status LeaseStore::CommitCheckpoint(const LeaseRef& lease, const std::string& sha256, int64_t step) {
  const absl::Status committed =
      database_.Query("lease.checkpoint", [&](pqxx::transaction_base& statement) -> absl::Status {
        const pqxx::result changed = Run(statement, kCheckpoint, lease.job_id, lease.fence, sha256, step);
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
  PACTORY_RETURN_IF_ERROR(database_.Query("lease.end", [&](pqxx::transaction_base& statement) -> absl::Status {
    // What changes a job under its lease is a cancel, and there is one: what the second look finds stays. Of a success only a
    // cancel makes another outcome, so its first try needs no look.
    for (int look = end == AttemptEnd::kSucceeded ? 0 : 1; look <= 2; ++look) {
      EndingJob job;
      bool preempted = false;
      if (look > 0) {
        const pqxx::result looked = Run(statement, kLook, lease.job_id, lease.fence);
        if (looked.empty()) {
          return end == AttemptEnd::kReleased ? LeaseLost(lease) : CheckEndedBefore(statement, lease, end);
        }
        PACTORY_ASSIGN_OR_RETURN(job, EndingJobOf(looked[0]));
        preempted = looked[0][7].as<bool>();
      }
      if (end == AttemptEnd::kCancelled && !job.cancelling) {
        return WithReason(
            absl::FailedPreconditionError(absl::StrCat(
                "a job ends CANCELLED only after a cancel; use ReleaseJob to give it back: jobs/", lease.job_id)),
            "NOT_CANCELLED");
      }
      JobOutcome outcome = OutcomeOf(end, request.failed(), job, retry_wait_);
      if (outcome.event == "RELEASED" && preempted) outcome.event = "PREEMPTED";
      const ArtifactArrays artifacts = outcome.state == v1::Job::SUCCEEDED ? ArraysOf(request.succeeded().artifacts())
                                       : outcome.state == v1::Job::FAILED  ? ArraysOf(request.failed_artifacts())
                                                                           : ArraysOf({});
      const std::optional<absl::Duration> ran = EndAttempt(statement, lease, job, outcome, artifacts);
      if (!ran.has_value()) {
        if (look > 0) PACTORY_RETURN_IF_ERROR(CheckArtifactsAreWhole(statement, lease, artifacts));
        continue;
      }
      finished = {.state = outcome.state, .ran = *ran};
      if (outcome.event == "RETRIED") finished.retried = FailureClassOf(request.failed().reason());
      return absl::OkStatus();
    }
    return LeaseLost(lease);
  }));
  return finished;
}

absl::Status LeaseStore::CheckClocks(pqxx::transaction_base& transaction, SteadyClock::time_point since) {
  // now() stands since the transaction began. Where it took long to come this far, heartbeats were not answered either.
  const auto micros = transaction.exec1("SELECT " PACTORY_MICROS("clock_timestamp()"))[0].as<int64_t>();
  const SteadyClock::time_point steady = SteadyClock::now();
  const absl::Duration ahead = absl::Microseconds(micros) - absl::FromChrono(steady.time_since_epoch());
  absl::MutexLock lock(&mutex_);
  const absl::Duration step = ahead - std::exchange(clock_ahead_, ahead).value_or(ahead);
  if (absl::FromChrono(steady - since) > term_ / 4) {
    return absl::UnavailableError("the server or the database stood still");
  }
  if (step > term_ / 4) {
    return absl::UnavailableError(absl::StrCat("the database's clock went ahead by ", absl::FormatDuration(step)));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<ReapedJob>> LeaseStore::Reap(SteadyClock::time_point since) {
  std::vector<ReapedJob> reaped;
  PACTORY_RETURN_IF_ERROR(
      database_.TransactRepeatable("lease.reap", [&](pqxx::transaction_base& transaction) -> absl::Status {
        reaped.clear();
        PACTORY_RETURN_IF_ERROR(CheckClocks(transaction, since));
        for (const auto& row : transaction.exec_params(kReap, IntervalOf(term_))) {
          const LeaseRef lease = {row[8].as<std::string>(), row[9].as<int64_t>()};
          const AttemptEnd end = row[10].as<bool>()   ? AttemptEnd::kWorkerLost
                                 : row[11].as<bool>() ? AttemptEnd::kStalled
                                                      : AttemptEnd::kOverDeadline;
          PACTORY_ASSIGN_OR_RETURN(const EndingJob job, EndingJobOf(row));
          const JobOutcome outcome = OutcomeOf(end, v1::JobError(), job, retry_wait_);
          // Where a cancel came in between, the next scan sees it.
          if (!EndAttempt(transaction, lease, job, outcome, ArraysOf({})).has_value()) continue;
          reaped.push_back({.id = lease.job_id, .end = end, .state = outcome.state, .detail = outcome.detail});
        }
        return absl::OkStatus();
      }));
  return reaped;
}

absl::StatusOr<std::vector<std::string>> LeaseStore::Preempt(absl::Duration waited) {
  std::vector<std::string> jobs;
  PACTORY_RETURN_IF_ERROR(database_.Query("lease.preempt", [&](pqxx::transaction_base& statement) {
    const std::string sql = absl::StrCat("WITH RECURSIVE ", kLines, kPreempt);
    for (const auto& row : statement.exec_params(sql, IntervalOf(waited))) jobs.push_back(row[0].as<std::string>());
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
