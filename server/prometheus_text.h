// What /metrics says of the queue, the workers and the pools, in Prometheus' text format. Used by HttpPages. Stateless.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "pactory/v1/status.pb.h"
#include "storage/pool.h"

namespace pactory {

/// Appends the jobs by state, the queue's depth and age, and the workers.
void AppendStatusMetrics(std::string& text, const v1::GetStatusResponse& status);

/// Appends how busy a connection pool is.
void AppendPoolMetrics(std::string& text, absl::string_view pool, const PoolStats& stats);

/// Appends one number.
void AppendGauge(std::string& text, absl::string_view name, absl::string_view help, double value);

}  // namespace pactory
