#include "storage/start_estimate.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "storage/row_fields.h"
#include "storage/worker_store.h"

namespace pactory {

std::string SlotsForWaiting() {
  return absl::StrCat(R"sql(able AS (
  SELECT w.slots, (SELECT count(*) FROM job_lease l WHERE l.worker_id = w.id) AS busy FROM worker w CROSS JOIN waiting
  WHERE w.last_seen_time > now() - interval ')sql", IntervalOf(kWorkerLiveFor), R"sql('
    AND (waiting.worker_kind = 'ANY' OR (waiting.worker_kind = 'GPU') = w.gpu)
    AND (waiting.memory_gib = 0 OR waiting.memory_gib <= w.job_memory_gib)
), active AS (
  SELECT t.id, t.weight FROM tenant t CROSS JOIN waiting WHERE t.id = waiting.tenant_id
    OR EXISTS (SELECT 1 FROM job_ready r WHERE r.tenant_id = t.id)
    OR EXISTS (SELECT 1 FROM tenant_standing s WHERE s.tenant_id = t.id AND s.running > 0)
))sql");
}

void SetEstimatedStart(const pqxx::row& row, int first, v1::Job& job) {
  const auto slots = row[first].as<double>();
  if (slots <= 0) return;
  const auto free_slots = row[first + 1].as<double>();
  const double before = std::max(0.0, job.queue_position() + 1 - free_slots);
  const double wait = before * row[first + 2].as<double>() / (slots * row[first + 3].as<double>());
  *job.mutable_estimated_start_time() = TimestampOf(row[first + 4]);
  job.mutable_estimated_start_time()->set_seconds(job.estimated_start_time().seconds() +
                                                  static_cast<int64_t>(std::ceil(wait)));
}

}  // namespace pactory
