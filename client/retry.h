// Repeats a call until the server answered it for good. Used by the agent and the CLI. Stateless.
#pragma once

#include <functional>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/cancellation.h"

namespace pactory {

/// Calls `call` until its status is not transient (IsTransient), and returns that status. Returns the transient one
/// once it has lasted for `patience`, or when cancelled.
absl::Status RetryTransient(const Cancellation& cancellation, absl::Duration patience,
                            const std::function<absl::Status()>& call);

}  // namespace pactory
