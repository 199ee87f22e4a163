// When a queued job may start. Only for .cc files of storage/: it pulls libpqxx in. Stateless.
#pragma once

#include <pqxx/pqxx>
#include <string>

#include "pactory/v1/job.pb.h"

namespace pactory {

/// Returns SQL, CTEs after a CTE `waiting` (tenant_id, worker_kind, memory_gib) of at most one row, the job that waits: the slots
/// that could run it, and the tenants that want some.
std::string SlotsForWaiting();

/// Columns of a statement with SlotsForWaiting, for SetEstimatedStart; $1 is the tenant.
inline constexpr char kStartEstimate[] = R"sql(
(SELECT coalesce(sum(slots), 0) FROM able), (SELECT coalesce(sum(greatest(slots - busy, 0)), 0) FROM able),
(SELECT s.mean_seconds FROM tenant_standing s WHERE s.tenant_id = $1),
coalesce((SELECT weight FROM active WHERE id = $1)::double precision / nullif((SELECT sum(weight) FROM active), 0), 1),
(extract(epoch FROM now()) * 1000000)::bigint )sql";

/// Sets a queued job's estimated_start_time from its place in the queue: the jobs before it and itself, less the free slots,
/// each as long as the tenant's last ones, over the tenant's share of the slots that could run it. Leaves it unset where
/// there is no such slot. The columns of kStartEstimate begin at `first`.
void SetEstimatedStart(const pqxx::row& row, int first, v1::Job& job);

}  // namespace pactory
