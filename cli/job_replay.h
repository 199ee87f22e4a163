// A job run again, to see whether the same file comes out. Used by `jobs replay`. Stateless.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "cli/exit_code.h"
#include "cli/invocation.h"

namespace pactory {

/// Queues the model, data and config (with its seed) of a job that SUCCEEDED as a new job, follows it to its end and compares the SHA-256
/// of the two model.int8.onnx. The code is kDone where they are equal. FAILED_PRECONDITION for a job that a clock or a person decided
/// the length of.
absl::StatusOr<ExitCode> ReplayJob(const Invocation& invocation, const std::string& job);

}  // namespace pactory
