#include "storage/libpq_connection.h"

#include <endian.h>
#include <libpq-fe.h>
#include <poll.h>

#include <cstring>

#include "storage/sql_state.h"

namespace pactory {

void LibpqResult::Clear::operator()(pg_result* result) const { PQclear(result); }

int LibpqResult::rows() const { return PQntuples(result_.get()); }

bool LibpqResult::IsNull(int row, int column) const { return PQgetisnull(result_.get(), row, column) != 0; }

absl::string_view LibpqResult::Bytes(int row, int column) const {
  return absl::string_view(PQgetvalue(result_.get(), row, column), PQgetlength(result_.get(), row, column));
}

int64_t LibpqResult::Int64(int row, int column) const {
  uint64_t big_endian = 0;
  const absl::string_view bytes = Bytes(row, column);
  if (bytes.size() == sizeof(big_endian)) std::memcpy(&big_endian, bytes.data(), sizeof(big_endian));
  return static_cast<int64_t>(be64toh(big_endian));
}

void LibpqConnection::Close::operator()(pg_conn* connection) const { PQfinish(connection); }

absl::StatusOr<std::unique_ptr<LibpqConnection>> LibpqConnection::Open(const std::string& connection_string) {
  std::unique_ptr<LibpqConnection> connection(new LibpqConnection(PQconnectdb(connection_string.c_str())));
  if (PQstatus(connection->connection_.get()) != CONNECTION_OK) {
    return DatabaseUnavailable("connect", PQerrorMessage(connection->connection_.get()));
  }
  return connection;
}

absl::StatusOr<LibpqResult> LibpqConnection::Exec(absl::string_view name, const char* sql,
                                                  const std::vector<LibpqParam>& params) {
  std::vector<const char*> values;
  std::vector<int> lengths;
  std::vector<int> formats;
  for (const LibpqParam& param : params) {
    values.push_back(param.value.has_value() ? param.value->data() : nullptr);
    lengths.push_back(param.value.has_value() ? static_cast<int>(param.value->size()) : 0);
    formats.push_back(param.format == LibpqParam::Format::kBinary ? 1 : 0);
  }
  constexpr int kBinaryResult = 1;
  pg_result* raw = PQexecParams(connection_.get(), sql, static_cast<int>(params.size()), nullptr, values.data(),
                                lengths.data(), formats.data(), kBinaryResult);
  LibpqResult result(raw);
  const ExecStatusType status = PQresultStatus(raw);
  if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK) return result;
  const char* state = raw == nullptr ? nullptr : PQresultErrorField(raw, PG_DIAG_SQLSTATE);
  if (state == nullptr || PQstatus(connection_.get()) != CONNECTION_OK) {
    return DatabaseUnavailable(name, PQerrorMessage(connection_.get()));
  }
  return StatusOfSqlState(name, state, PQerrorMessage(connection_.get()));
}

bool LibpqConnection::IsUsable() {
  if (PQstatus(connection_.get()) != CONNECTION_OK) return false;
  pollfd socket = {.fd = PQsocket(connection_.get()), .events = POLLIN, .revents = 0};
  return poll(&socket, 1, 0) == 0;
}

absl::StatusOr<std::vector<std::string>> LibpqConnection::WaitForNotifications(int timeout_ms) {
  std::vector<std::string> payloads;
  const auto take = [&] {
    while (PGnotify* notify = PQnotifies(connection_.get())) {
      payloads.emplace_back(notify->extra);
      PQfreemem(notify);
    }
  };
  // What came together with an earlier answer is already here.
  take();
  if (!payloads.empty()) return payloads;
  pollfd socket = {.fd = PQsocket(connection_.get()), .events = POLLIN, .revents = 0};
  poll(&socket, 1, timeout_ms);
  if (PQconsumeInput(connection_.get()) == 0) {
    return DatabaseUnavailable("listen", PQerrorMessage(connection_.get()));
  }
  take();
  return payloads;
}

}  // namespace pactory
