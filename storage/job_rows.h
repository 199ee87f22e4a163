// How a job is read from its rows. Only for .cc files of storage/: it pulls libpqxx in. Stateless.
#pragma once

#include <pqxx/pqxx>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "pactory/v1/job.pb.h"
#include "storage/row_fields.h"

namespace pactory {

/// Columns that JobOf reads, of `job j LEFT JOIN job_lease l`. The caller adds one more: the queue position.
inline constexpr char kJobColumns[] =
    "j.id, j.display_name, j.spec, j.state, j.attempt, j.lost_attempts, coalesce(l.progress, j.progress), "
    "j.error_reason, "
    "j.error_message, j.worker_id, " PACTORY_MICROS("j.create_time") ", " PACTORY_MICROS(
        "j.start_time") ", " PACTORY_MICROS("j.end_time") ", j.failed_attempts, j.stop_training, ";

/// Place in its line of a job j that is queued: jobs of its tenant with equal needs that come first. A range of the index, so
/// bounded.
inline constexpr char kQueuePosition[] =
    "(SELECT count(*) FROM (SELECT 1 FROM job_ready r WHERE j.state = 'PENDING' AND r.tenant_id = j.tenant_id "
    "AND r.worker_kind = j.worker_kind AND r.memory_gib = j.memory_gib "
    "AND (r.priority, r.create_time, r.job_id) < (j.priority, j.create_time, j.id) LIMIT 10000) AS counted)";

/// Returns the job of a row of kJobColumns and a position.
absl::StatusOr<v1::Job> JobOf(const pqxx::row& row);

/// Returns NOT_FOUND, the same for a job of another tenant.
absl::Status JobNotFound(const std::string& id);

/// Writes one line of the job's history; `detail` says why, where the kind does not tell.
void LogJobEvent(pqxx::transaction_base& transaction, const std::string& job_id, const std::string& kind,
                 const std::string& detail = "");

}  // namespace pactory
