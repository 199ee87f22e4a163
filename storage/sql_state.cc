#include "storage/sql_state.h"

#include <spdlog/spdlog.h>

#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"

namespace pactory {
namespace {

// Classes 08 (connection), 53 (resources) and 57P (shutdown, starting up), statement and lock timeouts, and a server
// that became a standby: all pass by themselves.
bool IsPassing(absl::string_view state) {
  return absl::StartsWith(state, "08") || absl::StartsWith(state, "53") || absl::StartsWith(state, "57P") ||
         state == "57014" || state == "55P03" || state == "25006";
}

}  // namespace

absl::Status DatabaseUnavailable(absl::string_view query_name, absl::string_view detail) {
  spdlog::warn("database: unavailable query={} {}", std::string(query_name),
               std::string(absl::StripAsciiWhitespace(detail)));
  return WithReason(absl::UnavailableError("the database does not answer; try again in a moment"),
                    "DATABASE_UNAVAILABLE");
}

absl::Status StatusOfSqlState(absl::string_view query_name, absl::string_view sql_state, absl::string_view detail) {
  if (IsPassing(sql_state)) return DatabaseUnavailable(query_name, detail);
  if (sql_state == "23505")
    return absl::AlreadyExistsError(absl::StrCat("the row is there already: query=", query_name));
  if (sql_state == "23503") {
    return absl::FailedPreconditionError(
        absl::StrCat("a row that is referred to is missing or still in use: query=", query_name));
  }
  if (absl::StartsWith(sql_state, "40")) {
    return WithReason(
        absl::AbortedError(absl::StrCat("another transaction was in the way; try again: query=", query_name)),
        "CONFLICT");
  }
  spdlog::error("database: query={} sqlstate={} {}", std::string(query_name), std::string(sql_state),
                std::string(absl::StripAsciiWhitespace(detail)));
  return absl::InternalError(absl::StrCat("the database query failed: query=", query_name));
}

}  // namespace pactory
