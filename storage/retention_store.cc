#include "storage/retention_store.h"

#include <pqxx/pqxx>

#include "base/status_macros.h"
#include "storage/row_fields.h"

namespace pactory {
namespace {

// Rows of a batch: few enough that a sweep holds no lock for long.
constexpr char kJobs[] = R"sql(
WITH gone AS (
  DELETE FROM job WHERE id IN (
    SELECT id FROM job WHERE end_time < now() - $1::interval ORDER BY end_time LIMIT 100)
  RETURNING id
), metrics AS (
  DELETE FROM job_metric USING gone WHERE job_id = gone.id
), events AS (
  DELETE FROM job_event USING gone WHERE job_id = gone.id
)
SELECT id FROM gone)sql";

constexpr char kMakeMetricDays[] =
    "SELECT make_metric_days((now() AT TIME ZONE 'utc')::date, (now() AT TIME ZONE 'utc')::date + 7)";

// A day's table may go when the last moment of the day is old enough.
constexpr char kOldMetricDays[] = R"sql(
SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'job_metric'::regclass
  AND to_date(right(c.relname, 8), 'YYYYMMDD') + 1 <= (now() AT TIME ZONE 'utc') - $1::interval
ORDER BY c.relname)sql";

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

absl::Status RetentionStore::MakeMetricDays() {
  return database_.TransactRepeatable("sweep.make_metric_days", [](pqxx::transaction_base& transaction) {
    transaction.exec(kMakeMetricDays);
    return absl::OkStatus();
  });
}

absl::StatusOr<int64_t> RetentionStore::DropMetricDays(absl::Duration age) {
  int64_t dropped = 0;
  if (age == absl::InfiniteDuration()) return dropped;
  PACTORY_RETURN_IF_ERROR(
      database_.TransactRepeatable("sweep.metrics", [&](pqxx::transaction_base& transaction) {
        // The drop waits for readers, and everybody else would wait behind it; the next sweep tries again.
        transaction.exec("SET LOCAL lock_timeout = '2s'");
        const pqxx::result days = transaction.exec_params(kOldMetricDays, IntervalOf(age));
        for (const auto& day : days) transaction.exec("DROP TABLE " + transaction.quote_name(day[0].as<std::string>()));
        dropped = static_cast<int64_t>(days.size());
        return absl::OkStatus();
      }));
  return dropped;
}

absl::StatusOr<SweepReport> RetentionStore::Sweep(const RetentionSettings& settings) {
  SweepReport report;
  PACTORY_ASSIGN_OR_RETURN(report.jobs, RemoveInBatches("sweep.jobs", kJobs, settings.jobs));
  PACTORY_RETURN_IF_ERROR(MakeMetricDays());
  PACTORY_ASSIGN_OR_RETURN(report.metric_days, DropMetricDays(settings.metrics));
  PACTORY_ASSIGN_OR_RETURN(report.events, RemoveInBatches("sweep.events", kEvents, settings.events));
  PACTORY_ASSIGN_OR_RETURN(report.workers, RemoveInBatches("sweep.workers", kWorkers, settings.workers));
  PACTORY_ASSIGN_OR_RETURN(report.checkpoints, blobs_.CollectCheckpoints(settings.old_checkpoints));
  PACTORY_ASSIGN_OR_RETURN(report.blobs, blobs_.CollectGarbage(settings.unused_blobs));
  return report;
}

}  // namespace pactory
