#include "storage/job_store.h"

#include <pqxx/pqxx>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/error.h"
#include "base/ids.h"
#include "base/status_macros.h"
#include "storage/job_rows.h"
#include "storage/start_estimate.h"
#include "storage/statement.h"
#include "storage/tenant_share.h"

namespace pactory {
namespace {

// The model and the datasets are the tenant's own, or the job is not made; for a tenant with a limit of queued jobs it is made
// where $15 says that there is room.
constexpr char kInsertJob[] = R"sql(
WITH made AS (
  INSERT INTO job (tenant_id, display_name, spec, model_id, train_dataset_id, eval_dataset_id, priority, max_attempts,
                   deadline, request_id, request_sha256, stall, worker_kind, memory_gib)
  SELECT $1, $2, $3, m.id, t.id, e.id, $7, $8, $9::double precision * interval '1 second', nullif($10, '')::uuid, $11,
    coalesce(nullif($12::double precision, 0) * interval '1 second', interval '30 minutes'), $13::worker_kind, $14
  FROM model m, dataset t, dataset e, tenant owner
  WHERE m.tenant_id = $1 AND m.id = $4 AND t.tenant_id = $1 AND t.id = $5 AND e.tenant_id = $1 AND e.id = $6
    AND owner.id = $1 AND ($15::boolean OR owner.max_queued IS NULL)
  ON CONFLICT (tenant_id, request_id) DO NOTHING
  RETURNING *
), queued AS (
  INSERT INTO job_ready (job_id, tenant_id, worker_kind, memory_gib, priority, create_time)
  SELECT id, tenant_id, worker_kind, memory_gib, priority, create_time FROM made
), logged AS (
  INSERT INTO job_event (job_id, kind, fence) SELECT id, 'CREATED', fence FROM made
), )sql";

// Locks the row of a tenant that has a limit, so that two creates do not share its last place.
constexpr char kQueueLimit[] =
    "SELECT max_queued FROM tenant WHERE id = $1 AND max_queued IS NOT NULL FOR NO KEY UPDATE";

constexpr char kQueuedUpTo[] =
    "SELECT count(*) FROM (SELECT 1 FROM job_ready WHERE tenant_id = $1 LIMIT $2) AS counted";

// The queue's row is taken first, as a claim does it; the other order could deadlock with one.
constexpr char kCancelPending[] = R"sql(
WITH taken AS (
  DELETE FROM job_ready WHERE job_id = $2 AND tenant_id = $1 RETURNING job_id
)
UPDATE job SET state = 'CANCELLED', cancel_time = now(), end_time = now()
FROM taken WHERE job.id = taken.job_id AND job.state = 'PENDING' RETURNING job.id)sql";

constexpr char kCancelRunning[] =
    "UPDATE job SET state = 'CANCELLING', cancel_time = now() WHERE id = $2 AND tenant_id = $1 AND state = 'RUNNING' "
    "RETURNING id";

constexpr char kStopTraining[] =
    "UPDATE job SET stop_training = true WHERE id = $2 AND tenant_id = $1 AND state IN ('PENDING', 'RUNNING') "
    "AND NOT stop_training RETURNING id";

absl::Status CheckQueueLimit(pqxx::transaction_base& transaction, const std::string& tenant_id) {
  const pqxx::result limited = transaction.exec_params(kQueueLimit, tenant_id);
  if (limited.empty()) return absl::OkStatus();
  const auto limit = limited[0][0].as<int64_t>();
  if (transaction.exec_params1(kQueuedUpTo, tenant_id, limit)[0].as<int64_t>() < limit) return absl::OkStatus();
  return WithReason(
      absl::ResourceExhaustedError(absl::StrCat("the tenant may have at most ", limit,
                                                " queued job(s); wait for some to start, cancel some, or have the operator "
                                                "raise the limit")),
      "QUOTA_EXCEEDED");
}

// Jobs that are committed already: its own commit, of nothing but a word, does not wait for the disk.
constexpr Statement kAnnounce = {"job.announce", "SELECT pg_notify($1, $2), set_config('synchronous_commit', 'off', true)"};

std::string WorkerKindOf(const v1::Resources& resources) {
  return v1::Resources::WorkerKind_Name(resources.worker_kind() == v1::Resources::WORKER_KIND_UNSPECIFIED
                                            ? v1::Resources::ANY
                                            : resources.worker_kind());
}

double SecondsOf(const google::protobuf::Duration& duration) {
  return static_cast<double>(duration.seconds()) + duration.nanos() * 1e-9;
}

void Notify(pqxx::transaction_base& transaction, const std::string& payload) {
  transaction.exec_params("SELECT pg_notify($1, $2)", kJobChannel, payload);
}

}  // namespace

absl::StatusOr<v1::Job> JobStore::Create(const std::string& tenant_id, const v1::Job& job, const RequestKey& key) {
  static const std::string* const sql =
      new std::string(absl::StrCat(kInsertJob, kJoinTheLine, "SELECT ", kJobColumns,
                                   "NULL::bigint FROM made j CROSS JOIN (SELECT NULL::bytea AS progress) AS l"));
  const v1::JobSpec& spec = job.spec();
  std::optional<v1::Job> made;
  const auto insert = [&](pqxx::transaction_base& transaction, bool within_limit) -> absl::Status {
    const pqxx::result rows =
        Run(transaction, {"job.create", sql->c_str()}, tenant_id, job.display_name(), BytesOf(spec),
            IdOf("models", spec.model()), IdOf("datasets", spec.train_dataset()), IdOf("datasets", spec.eval_dataset()),
            spec.priority(), spec.max_attempts(), SecondsOf(spec.deadline()), key.id, key.sha256, SecondsOf(spec.stall()),
            WorkerKindOf(spec.resources()), spec.resources().memory_gib(), within_limit);
    if (rows.empty()) return absl::OkStatus();
    PACTORY_ASSIGN_OR_RETURN(made, JobOf(rows[0]));
    return absl::OkStatus();
  };
  const auto insert_below_limit = [&](pqxx::transaction_base& statement) { return insert(statement, false); };
  const auto insert_within_limit = [&](pqxx::transaction_base& transaction) -> absl::Status {
    PACTORY_RETURN_IF_ERROR(CheckQueueLimit(transaction, tenant_id));
    return insert(transaction, true);
  };
  // A call with a request id may be repeated when the database was lost on the way.
  const bool repeatable = !key.id.empty();
  PACTORY_RETURN_IF_ERROR(repeatable ? database_.Query("job.create", insert_below_limit)
                                     : database_.QueryOnce("job.create", insert_below_limit));
  if (made.has_value()) return *std::move(made);
  const absl::Status created = repeatable ? database_.TransactRepeatable("job.create", insert_within_limit)
                                          : database_.Transact("job.create", insert_within_limit);
  // The job that takes the last place may be this one, made by an earlier call.
  if (!created.ok() && !absl::IsResourceExhausted(created)) return created;
  if (made.has_value()) return *std::move(made);
  PACTORY_ASSIGN_OR_RETURN(std::optional<v1::Job> earlier, FindByRequest(tenant_id, key));
  if (earlier.has_value()) return *std::move(earlier);
  PACTORY_RETURN_IF_ERROR(created);
  return WithReason(absl::NotFoundError("the job's model or a dataset was deleted meanwhile"), "NOT_FOUND");
}

bool JobStore::WantsAnnouncement() { return !announcing_.exchange(true); }

absl::Status JobStore::Announce() {
  announcing_ = false;
  return database_.Query("job.announce", [](pqxx::transaction_base& statement) {
    Run(statement, kAnnounce, kJobChannel, kJobsQueued);
    return absl::OkStatus();
  });
}

absl::StatusOr<std::optional<v1::Job>> JobStore::FindByRequest(const std::string& tenant_id, const RequestKey& key) {
  std::optional<v1::Job> job;
  if (key.id.empty()) return job;
  PACTORY_RETURN_IF_ERROR(
      database_.Query("job.find_by_request", [&](pqxx::transaction_base& statement) -> absl::Status {
        const pqxx::result found = statement.exec_params(
            absl::StrCat("SELECT ", kJobColumns,
                         "NULL::bigint, j.request_sha256 FROM job j LEFT JOIN job_lease l ON l.job_id = j.id "
                         "WHERE j.tenant_id = $1 AND j.request_id = $2"),
            tenant_id, key.id);
        if (found.empty()) return absl::OkStatus();
        if (TextOr(found[0][16]) != key.sha256) return RequestIdReused(key);
        PACTORY_ASSIGN_OR_RETURN(job, JobOf(found[0]));
        return absl::OkStatus();
      }));
  return job;
}

absl::StatusOr<v1::Job> JobStore::Get(const std::string& tenant_id, const std::string& id) {
  if (!IsUuid(id)) return JobNotFound(id);
  v1::Job job;
  PACTORY_RETURN_IF_ERROR(database_.Query("job.get", [&](pqxx::transaction_base& statement) -> absl::Status {
    static const std::string* const sql = new std::string(absl::StrCat(
        "WITH waiting AS (SELECT tenant_id, worker_kind, memory_gib FROM job WHERE id = $2 AND state = 'PENDING'), ",
        SlotsForWaiting(), "SELECT ", kJobColumns, kQueuePosition, ", ", kStartEstimate,
        "FROM job j LEFT JOIN job_lease l ON l.job_id = j.id WHERE j.tenant_id = $1 AND j.id = $2"));
    const pqxx::result found = Run(statement, {"job.get", sql->c_str()}, tenant_id, id);
    if (found.empty()) return JobNotFound(id);
    PACTORY_ASSIGN_OR_RETURN(job, JobOf(found[0]));
    constexpr int kEstimate = 16;
    if (job.state() == v1::Job::PENDING) SetEstimatedStart(found[0], kEstimate, job);
    return absl::OkStatus();
  }));
  return job;
}

absl::StatusOr<v1::ListJobsResponse> JobStore::List(const std::string& tenant_id, const PageRequest& page,
                                                    const std::vector<v1::Job::State>& states) {
  const std::string names = absl::StrJoin(
      states, ",", [](std::string* out, v1::Job::State state) { absl::StrAppend(out, v1::Job::State_Name(state)); });
  const std::string scope = absl::StrCat("jobs|", tenant_id, "|", names);
  PageCursor after = BeforeTheNewest();
  if (!page.token.empty()) {
    PACTORY_ASSIGN_OR_RETURN(after, DecodePageToken(page.token, scope));
  }
  v1::ListJobsResponse response;
  PACTORY_RETURN_IF_ERROR(database_.Query("job.list", [&](pqxx::transaction_base& statement) -> absl::Status {
    const pqxx::result rows =
        statement.exec_params(absl::StrCat("SELECT ", kJobColumns,
                                           "NULL::bigint FROM job j LEFT JOIN job_lease l ON l.job_id = j.id "
                                           "WHERE j.tenant_id = $1 "
                                           "AND (j.create_time, j.id) < (" PACTORY_TIME(
                                               "$2") ", $3::uuid) "
                                                     "AND ($5 = '' OR j.state::text = ANY (string_to_array($5, ','))) "
                                                     "ORDER BY j.create_time DESC, j.id DESC LIMIT $4"),
                              tenant_id, after.position, after.id, page.size + 1, names);
    for (const auto& row : rows) {
      if (response.jobs_size() == page.size) {
        const auto& last = rows[page.size - 1];
        response.set_next_page_token(EncodePageToken({last[10].as<int64_t>(), last[0].as<std::string>()}, scope));
        break;
      }
      PACTORY_ASSIGN_OR_RETURN(*response.add_jobs(), JobOf(row));
    }
    return absl::OkStatus();
  }));
  return response;
}

absl::StatusOr<v1::Job> JobStore::Cancel(const std::string& tenant_id, const std::string& id) {
  if (!IsUuid(id)) return JobNotFound(id);
  // A claim or a requeue may come in between two tries; each makes the job's state move on, so a few tries are enough.
  constexpr int kTries = 5;
  for (int attempt = 0; attempt < kTries; ++attempt) {
    bool cancelled = false;
    PACTORY_RETURN_IF_ERROR(database_.TransactRepeatable("job.cancel", [&](pqxx::transaction_base& transaction) {
      const char* event = "CANCELLED";
      pqxx::result changed = transaction.exec_params(kCancelPending, tenant_id, id);
      if (changed.empty()) {
        event = "CANCEL_REQUESTED";
        changed = transaction.exec_params(kCancelRunning, tenant_id, id);
      }
      if (changed.empty()) return absl::OkStatus();
      LogJobEvent(transaction, id, event);
      Notify(transaction, id);
      cancelled = true;
      return absl::OkStatus();
    }));
    PACTORY_ASSIGN_OR_RETURN(v1::Job job, Get(tenant_id, id));
    if (cancelled || job.state() == v1::Job::CANCELLING || job.state() == v1::Job::CANCELLED) return job;
    if (job.state() == v1::Job::SUCCEEDED || job.state() == v1::Job::FAILED) {
      return WithReason(absl::FailedPreconditionError(absl::StrCat("a job that has ended can't be cancelled: jobs/", id,
                                                                   " state=", v1::Job::State_Name(job.state()))),
                        "JOB_ENDED");
    }
  }
  return WithReason(
      absl::AbortedError(absl::StrCat("the job changed while it was being cancelled; try again: jobs/", id)),
      "CONFLICT");
}

absl::StatusOr<v1::Job> JobStore::StopTraining(const std::string& tenant_id, const std::string& id) {
  if (!IsUuid(id)) return JobNotFound(id);
  PACTORY_RETURN_IF_ERROR(database_.TransactRepeatable("job.stop_training", [&](pqxx::transaction_base& transaction) {
    if (transaction.exec_params(kStopTraining, tenant_id, id).empty()) return absl::OkStatus();
    LogJobEvent(transaction, id, "STOP_TRAINING_REQUESTED");
    Notify(transaction, id);
    return absl::OkStatus();
  }));
  PACTORY_ASSIGN_OR_RETURN(v1::Job job, Get(tenant_id, id));
  if (job.stop_training_requested()) return job;
  return WithReason(absl::FailedPreconditionError(absl::StrCat("a job that has ended, or is being cancelled, trains no more: jobs/", id,
                                                               " state=", v1::Job::State_Name(job.state()))),
                    "JOB_ENDED");
}

}  // namespace pactory
