// The one seam where LibTorch's exceptions become absl::Status. Stateless.
#pragma once

#include <functional>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace pactory::quant {

/// Runs `function`; an exception becomes INVALID_ARGUMENT (RESOURCE_EXHAUSTED when out of memory) with "<stage>: " and
/// the first line of its message.
absl::Status GuardTorch(absl::string_view stage, const std::function<absl::Status()>& function);

}  // namespace pactory::quant
