// What an absl::Status carries beyond its code and message: a reason for machines and the name of the field at fault.
// The server turns them into google.rpc.ErrorInfo and google.rpc.BadRequest. Stateless.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace pactory {

/// Returns `status` with `reason` attached: an upper-case word like `LEASE_LOST`. An OK status stays as it is.
absl::Status WithReason(absl::Status status, absl::string_view reason);

/// Returns the reason attached to `status`, or "" where there is none.
std::string ReasonOf(const absl::Status& status);

/// Returns INVALID_ARGUMENT with message "<field>: <problem>", reason `INVALID_FIELD` and the field's path attached.
absl::Status InvalidField(absl::string_view field, absl::string_view problem);

/// Returns the field attached to `status`, or "" where there is none.
std::string FieldOf(const absl::Status& status);

/// Returns `status` with `prefix` put before its message; code, reason and field stay.
absl::Status Prefixed(const absl::Status& status, absl::string_view prefix);

}  // namespace pactory
