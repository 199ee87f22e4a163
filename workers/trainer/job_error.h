// The reason of a failed job, for machines. Used by the job and quantize subcommands. Stateless.
#pragma once

#include "absl/status/status.h"
#include "pactory/v1/job.pb.h"

namespace pactory {

/// Returns the error of a job for a status of the pipeline: BAD_MODEL, BAD_DATA, BAD_CONFIG, UNSUPPORTED_OP, GATE_FAILED,
/// OUT_OF_MEMORY, DISK_FULL or INTERNAL, with the status' message. Requires: not OK.
v1::JobError ToJobError(const absl::Status& status);

}  // namespace pactory
