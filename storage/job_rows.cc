#include "storage/job_rows.h"

#include "absl/strings/str_cat.h"
#include "base/error.h"

namespace pactory {

absl::StatusOr<v1::Job> JobOf(const pqxx::row& row) {
  v1::Job job;
  job.set_name(absl::StrCat("jobs/", row[0].as<std::string>()));
  job.set_display_name(row[1].as<std::string>());
  if (!ParseBytes(row[2], *job.mutable_spec())) return absl::DataLossError("a stored job can't be read");
  v1::Job::State state = v1::Job::STATE_UNSPECIFIED;
  if (!v1::Job::State_Parse(row[3].as<std::string>(), &state))
    return absl::DataLossError("a stored job's state is unknown");
  job.set_state(state);
  job.set_attempt(row[4].as<int>());
  job.set_lost_attempts(row[5].as<int>());
  if (!row[6].is_null() && !ParseBytes(row[6], *job.mutable_progress())) {
    return absl::DataLossError("a stored job's progress can't be read");
  }
  if (!row[7].is_null()) {
    job.mutable_error()->set_reason(row[7].as<std::string>());
    job.mutable_error()->set_message(TextOr(row[8]));
  }
  if (!row[9].is_null()) job.set_worker(absl::StrCat("workers/", row[9].as<std::string>()));
  *job.mutable_create_time() = TimestampOf(row[10]);
  if (!row[11].is_null()) *job.mutable_start_time() = TimestampOf(row[11]);
  if (!row[12].is_null()) *job.mutable_end_time() = TimestampOf(row[12]);
  job.set_failed_attempts(row[13].as<int>());
  job.set_stop_training_requested(row[14].as<bool>());
  if (!row[15].is_null()) job.set_queue_position(row[15].as<int>());
  return job;
}

absl::Status JobNotFound(const std::string& id) {
  return WithReason(absl::NotFoundError(absl::StrCat("there is no such job: jobs/", id)), "NOT_FOUND");
}

void LogJobEvent(pqxx::transaction_base& transaction, const std::string& job_id, const std::string& kind,
                 const std::string& detail) {
  transaction.exec_params0(
      "INSERT INTO job_event (job_id, kind, fence, worker_id, detail) "
      "SELECT id, $2, fence, worker_id, nullif($3, '') FROM job WHERE id = $1",
      job_id, kind, detail);
}

}  // namespace pactory
