#include "storage/start_estimate.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "storage/row_fields.h"
#include "storage/worker_store.h"

namespace pactory {
namespace {

constexpr char kSlots[] = R"sql(
WITH waiting AS (
  SELECT tenant_id, worker_kind, memory_gib FROM job WHERE id = $1
), able AS (
  SELECT w.slots, (SELECT count(*) FROM job_lease l WHERE l.worker_id = w.id) AS busy FROM worker w CROSS JOIN waiting
  WHERE w.last_seen_time > now() - $2::interval
    AND (waiting.worker_kind = 'ANY' OR (waiting.worker_kind = 'GPU') = w.gpu)
    AND (waiting.memory_gib = 0 OR waiting.memory_gib <= w.job_memory_gib)
), active AS (
  SELECT t.id, t.weight FROM tenant t WHERE EXISTS (SELECT 1 FROM job_ready r WHERE r.tenant_id = t.id)
    OR EXISTS (SELECT 1 FROM tenant_share s WHERE s.tenant_id = t.id AND s.running > 0)
)
SELECT (SELECT coalesce(sum(slots), 0) FROM able), (SELECT coalesce(sum(greatest(slots - busy, 0)), 0) FROM able),
  coalesce((SELECT s.mean_seconds FROM tenant_share s, waiting WHERE s.tenant_id = waiting.tenant_id), 60),
  coalesce((SELECT weight FROM active, waiting WHERE active.id = waiting.tenant_id)::double precision /
    nullif((SELECT sum(weight) FROM active), 0), 1), )sql" PACTORY_MICROS("now()");

}  // namespace

void SetEstimatedStart(pqxx::transaction_base& statement, const std::string& job_id, v1::Job& job) {
  const pqxx::row row =
      statement.exec_params1(kSlots, job_id, absl::StrCat(absl::ToInt64Seconds(kWorkerLiveFor), " s"));
  const auto slots = row[0].as<double>();
  if (slots <= 0) return;
  const auto free_slots = row[1].as<double>();
  const double before = std::max(0.0, job.queue_position() + 1 - free_slots);
  const double wait = before * row[2].as<double>() / (slots * row[3].as<double>());
  *job.mutable_estimated_start_time() = TimestampOf(row[4]);
  job.mutable_estimated_start_time()->set_seconds(job.estimated_start_time().seconds() +
                                                  static_cast<int64_t>(std::ceil(wait)));
}

}  // namespace pactory
