// Names one lease of one job in the stores. A value.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace pactory {

/// The lease that a worker's write is made under.
struct LeaseRef {
  /// Id of the job, a UUID.
  std::string job_id;
  /// Number of the lease.
  int64_t fence = 0;
};

/// Returns ABORTED with reason `LEASE_LOST`: the job was given to another worker, requeued or ended.
absl::Status LeaseLost(const LeaseRef& lease);

}  // namespace pactory
