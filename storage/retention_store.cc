#include "storage/retention_store.h"

#include <pqxx/pqxx>

#include "base/status_macros.h"
#include "storage/row_fields.h"

namespace pactory {
namespace {

// Rows of a batch: few enough that a sweep holds no lock for long.
constexpr char kJobs[] = R"sql(
DELETE FROM job WHERE id IN (
  SELECT id FROM job WHERE end_time < now() - $1::interval ORDER BY end_time LIMIT 100)
RETURNING id)sql";

constexpr char kMetrics[] = R"sql(
WITH old AS (
  SELECT id FROM job WHERE end_time < now() - $1::interval AND EXISTS (SELECT 1 FROM job_metric WHERE job_id = job.id)
  LIMIT 20
), gone AS (
  DELETE FROM job_metric USING old WHERE job_id = old.id
)
SELECT id FROM old)sql";

constexpr char kEvents[] = R"sql(
WITH old AS (
  SELECT id FROM job WHERE end_time < now() - $1::interval AND EXISTS (SELECT 1 FROM job_event WHERE job_id = job.id)
  LIMIT 100
), gone AS (
  DELETE FROM job_event USING old WHERE job_id = old.id
)
SELECT id FROM old)sql";

constexpr char kWorkers[] = R"sql(
DELETE FROM worker WHERE id IN (
  SELECT id FROM worker WHERE last_seen_time < now() - $1::interval
    AND NOT EXISTS (SELECT 1 FROM job_lease WHERE worker_id = worker.id) LIMIT 100)
RETURNING id)sql";

}  // namespace

absl::StatusOr<int64_t> RetentionStore::RemoveInBatches(const char* name, const char* sql, absl::Duration age) {
  int64_t removed = 0;
  if (age == absl::InfiniteDuration()) return removed;
  for (size_t batch = 1; batch > 0; removed += static_cast<int64_t>(batch)) {
    PACTORY_RETURN_IF_ERROR(database_.TransactRepeatable(name, [&](pqxx::transaction_base& transaction) {
      batch = transaction.exec_params(sql, IntervalOf(age)).size();
      return absl::OkStatus();
    }));
  }
  return removed;
}

absl::StatusOr<SweepReport> RetentionStore::Sweep(const RetentionSettings& settings) {
  SweepReport report;
  PACTORY_ASSIGN_OR_RETURN(report.jobs, RemoveInBatches("sweep.jobs", kJobs, settings.jobs));
  PACTORY_ASSIGN_OR_RETURN(report.metrics, RemoveInBatches("sweep.metrics", kMetrics, settings.metrics));
  PACTORY_ASSIGN_OR_RETURN(report.events, RemoveInBatches("sweep.events", kEvents, settings.events));
  PACTORY_ASSIGN_OR_RETURN(report.workers, RemoveInBatches("sweep.workers", kWorkers, settings.workers));
  PACTORY_ASSIGN_OR_RETURN(report.checkpoints, blobs_.CollectCheckpoints(settings.old_checkpoints));
  PACTORY_ASSIGN_OR_RETURN(report.blobs, blobs_.CollectGarbage(settings.unused_blobs));
  return report;
}

}  // namespace pactory
