// What this worker can do, as its trainer says. Used by main. Stateless.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "pactory/v1/worker.pb.h"

namespace pactory {

/// Asks the trainer (`ops --json`) and the machine. FAILED_PRECONDITION where the trainer can't be run or talks
/// nonsense.
absl::StatusOr<v1::WorkerCapabilities> FindCapabilities(const std::string& trainer);

/// Reads what `pactory-trainer ops --json` prints: {"version": "...", "ops": ["Conv", ...], "gpus": ["...", ...]}.
absl::StatusOr<v1::WorkerCapabilities> ParseCapabilities(absl::string_view json);

}  // namespace pactory
