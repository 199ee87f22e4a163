// Writes result files. Stateless.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace pactory::quant {

/// Writes `content` to `path`; RESOURCE_EXHAUSTED names the path where it can't be written whole.
absl::Status WriteFile(const std::string& path, absl::string_view content);

}  // namespace pactory::quant
