// A connection of plain libpq, for what libpqxx can't do: results in binary form and waiting for notifications.
// Used by BlobChunks and NotificationListener. Not thread-safe.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

struct pg_conn;
struct pg_result;

namespace pactory {

/// A parameter of a statement; binary ones are sent as they are.
struct LibpqParam {
  enum class Format { kText, kBinary };
  /// Absent for NULL. Borrowed until the call returns; text must end with a zero byte, as std::string's does.
  std::optional<absl::string_view> value;
  Format format = Format::kText;
};

/// Rows in binary form.
class LibpqResult {
 public:
  explicit LibpqResult(pg_result* result) : result_(result) {}
  int rows() const;
  bool IsNull(int row, int column) const;
  /// Bytes of a bytea or text field; valid while the result lives.
  absl::string_view Bytes(int row, int column) const;
  /// A bigint field.
  int64_t Int64(int row, int column) const;

 private:
  struct Clear {
    void operator()(pg_result* result) const;
  };
  std::unique_ptr<pg_result, Clear> result_;
};

/// One session.
class LibpqConnection {
 public:
  /// Connects; UNAVAILABLE where the database does not answer.
  static absl::StatusOr<std::unique_ptr<LibpqConnection>> Open(const std::string& connection_string);

  /// Runs one statement by itself and returns its rows in binary form.
  absl::StatusOr<LibpqResult> Exec(absl::string_view name, const char* sql, const std::vector<LibpqParam>& params);

  /// Whether the session was alive a moment ago.
  bool IsUsable();

  /// Waits until a notification comes or `timeout_ms` is over; returns the payloads that came. UNAVAILABLE when the
  /// session is lost.
  absl::StatusOr<std::vector<std::string>> WaitForNotifications(int timeout_ms);

 private:
  explicit LibpqConnection(pg_conn* connection) : connection_(connection) {}
  struct Close {
    void operator()(pg_conn* connection) const;
  };
  std::unique_ptr<pg_conn, Close> connection_;
};

}  // namespace pactory
