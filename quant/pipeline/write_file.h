// Writes result files. Stateless.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace pactory::quant {

/// Returns the error of a file that can't be written, for the number `error` (errno(3)): UNAVAILABLE with reason DISK_FULL (base/error.h)
/// where the disk or its owner's share of it is full, INTERNAL for other troubles of the host. Names the path.
absl::Status WriteError(const std::string& path, int error);

/// Writes `content` to `path`. Errors as of WriteError; there is no file then.
absl::Status WriteFile(const std::string& path, absl::string_view content);

}  // namespace pactory::quant
