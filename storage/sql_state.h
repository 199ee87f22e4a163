// What PostgreSQL's error codes mean to callers. Used by the seams of libpqxx and libpq. Stateless.
#pragma once

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace pactory {

/// Returns the status of a failed query by its SQLSTATE, and logs `detail`, which the client must not see.
absl::Status StatusOfSqlState(absl::string_view query_name, absl::string_view sql_state, absl::string_view detail);

/// Returns UNAVAILABLE with reason `DATABASE_UNAVAILABLE`, and logs `detail`.
absl::Status DatabaseUnavailable(absl::string_view query_name, absl::string_view detail);

}  // namespace pactory
