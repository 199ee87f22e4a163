#include "storage/connection_string.h"

#include <libpq-fe.h>

#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace pactory {
namespace {

// A statement that takes longer than this waits for something that does not come.
constexpr char kSessionOptions[] =
    "-c statement_timeout=15s -c lock_timeout=5s -c idle_in_transaction_session_timeout=30s -c timezone=UTC "
    "-c client_min_messages=warning";

}  // namespace

absl::StatusOr<std::string> ConnectionString(absl::string_view url) {
  char* error = nullptr;
  PQconninfoOption* parsed = PQconninfoParse(std::string(url).c_str(), &error);
  if (parsed == nullptr) {
    PQfreemem(error);
    return absl::InvalidArgumentError(
        "the database URL must look like postgresql://user:password@host:5432/name or host=... dbname=...");
  }
  std::map<std::string, std::string> values = {{"connect_timeout", "5"},
                                               {"application_name", "pactory-server"},
                                               {"tcp_user_timeout", "15000"},
                                               {"keepalives_idle", "10"},
                                               {"keepalives_interval", "5"}};
  for (const PQconninfoOption* option = parsed; option->keyword != nullptr; ++option) {
    if (option->val != nullptr) values[option->keyword] = option->val;
  }
  PQconninfoFree(parsed);
  std::string& options = values["options"];
  options = options.empty() ? kSessionOptions : absl::StrCat(kSessionOptions, " ", options);
  std::string result;
  for (const auto& [key, value] : values) {
    absl::StrAppend(&result, key, "='", absl::StrReplaceAll(value, {{"\\", "\\\\"}, {"'", "\\'"}}), "' ");
  }
  return result;
}

}  // namespace pactory
