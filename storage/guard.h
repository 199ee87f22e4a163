// The seam where exceptions of libpqxx become absl::Status. Used by Database and Migrator. Stateless.
#pragma once

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace pactory {

/// Returns the status of the exception that is being handled, and logs what the client must not see.
///
/// unique_violation gives ALREADY_EXISTS, foreign_key_violation FAILED_PRECONDITION, serialization failures and
/// deadlocks ABORTED (reason `CONFLICT`), a lost or refusing database UNAVAILABLE (reason `DATABASE_UNAVAILABLE`), a
/// commit whose outcome is unknown UNKNOWN (never to be retried blindly), all else INTERNAL. Requires: called in a
/// catch block.
absl::Status StatusOfPgException(absl::string_view query_name);

/// Runs `fn`, which may throw libpqxx's exceptions, and returns its status or that of the exception.
template <typename Fn>
absl::Status GuardPg(absl::string_view query_name, Fn&& fn) {
  try {
    return fn();
  } catch (...) {
    return StatusOfPgException(query_name);
  }
}

}  // namespace pactory
