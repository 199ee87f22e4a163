#include "storage/guard.h"

#include <spdlog/spdlog.h>

#include <exception>
#include <pqxx/pqxx>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "storage/sql_state.h"

namespace pactory {
namespace {

absl::Status StatusOfSqlError(absl::string_view query_name, const pqxx::sql_error& error) {
  return StatusOfSqlState(query_name, error.sqlstate(), error.what());
}

}  // namespace

absl::Status StatusOfPgException(absl::string_view query_name) {
  try {
    throw;
  } catch (const pqxx::in_doubt_error& error) {
    spdlog::error("database: query={} {}", std::string(query_name), error.what());
    return absl::UnknownError(absl::StrCat(
        "the database was lost during a commit, so it is unknown whether it was done: query=", query_name));
  } catch (const pqxx::broken_connection& error) {
    return DatabaseUnavailable(query_name, error.what());
  } catch (const pqxx::unique_violation& error) {
    return StatusOfSqlState(query_name, "23505", error.what());
  } catch (const pqxx::foreign_key_violation& error) {
    return StatusOfSqlState(query_name, "23503", error.what());
  } catch (const pqxx::deadlock_detected& error) {
    return StatusOfSqlState(query_name, "40P01", error.what());
  } catch (const pqxx::transaction_rollback& error) {
    return StatusOfSqlState(query_name, "40001", error.what());
  } catch (const pqxx::sql_error& error) {
    return StatusOfSqlError(query_name, error);
  } catch (const std::exception& error) {
    // libpqxx 6.4 reports some losses of the server as plain failures.
    if (absl::StrContains(error.what(), "onnection") || absl::StrContains(error.what(), "could not connect")) {
      return DatabaseUnavailable(query_name, error.what());
    }
    spdlog::error("database: query={} {}", std::string(query_name), error.what());
    return absl::InternalError(absl::StrCat("the database query failed: query=", query_name));
  }
}

}  // namespace pactory
