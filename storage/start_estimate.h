// When a queued job may start. Only for .cc files of storage/: it pulls libpqxx in. Stateless.
#pragma once

#include <pqxx/pqxx>
#include <string>

#include "pactory/v1/job.pb.h"

namespace pactory {

/// Sets a queued job's estimated_start_time from its place in the queue: the jobs before it and itself, less the free slots,
/// each as long as the tenant's last ones, over the tenant's share of the slots that could run it. Leaves it unset where
/// there is no such slot.
void SetEstimatedStart(pqxx::transaction_base& statement, const std::string& job_id, v1::Job& job);

}  // namespace pactory
