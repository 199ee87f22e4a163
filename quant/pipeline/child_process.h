// Runs a program and waits for it. Used by the runtime check. Stateless.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace pactory::quant {

/// Runs `arguments[0]` (searched in PATH) with the rest as arguments; its output is kept for the message, its standard input is
/// empty, and it dies with this process. CANCELLED, the child killed, once `stop` returns true; INTERNAL with the end of what
/// it printed where it fails, FAILED_PRECONDITION where it does so with exit status `refusal`; NOT_FOUND where it can't be started.
absl::Status RunChild(const std::vector<std::string>& arguments, const std::function<bool()>& stop,
                      std::optional<int> refusal = std::nullopt);

}  // namespace pactory::quant
