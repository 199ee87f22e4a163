#include "storage/database.h"

#include <poll.h>

#include <pqxx/pqxx>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "storage/connection_string.h"
#include "storage/guard.h"
#include "storage/sql_state.h"

namespace pactory {

struct Database::Connection {
  explicit Connection(const std::string& address) : session(address) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    session.inhibit_reactivation(true);
#pragma GCC diagnostic pop
    // Prepared statements keep the plan of their first run, and the queue's tables grow from nothing to millions of
    // rows meanwhile: by index, every plan is good at any size. Not by bitmap, which passes over the hot tables' dead rows
    // without marking them and so meets them again each time until they are vacuumed.
    // A server that stands still in the middle of a transaction loses it, and the locks that others wait for, before their leases end.
    pqxx::nontransaction(session).exec(
        "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_bitmapscan = off; SET jit = off; "
        "SET idle_in_transaction_session_timeout = '5s'");
  }

  // An idle session has nothing to say: a readable socket means that the server has closed it.
  bool IsUsable() {
    if (!session.is_open()) return false;
    pollfd socket = {.fd = session.sock(), .events = POLLIN, .revents = 0};
    return poll(&socket, 1, 0) == 0;
  }

  pqxx::connection session;
};

absl::StatusOr<std::unique_ptr<Database>> Database::Open(const DatabaseOptions& options) {
  PACTORY_ASSIGN_OR_RETURN(std::string address, ConnectionString(options.url));
  return std::unique_ptr<Database>(new Database(std::move(address), options));
}

Database::Database(std::string connection_string, const DatabaseOptions& options)
    : connection_string_(std::move(connection_string)),
      pool_wait_(options.pool_wait),
      pool_(
          options.pool_size,
          [this]() -> absl::StatusOr<std::unique_ptr<Connection>> {
            std::unique_ptr<Connection> connection;
            PACTORY_RETURN_IF_ERROR(GuardPg("connect", [&] {
              connection = std::make_unique<Connection>(connection_string_);
              return absl::OkStatus();
            }));
            return connection;
          },
          [](Connection& connection) { return connection.IsUsable(); }) {}

Database::~Database() = default;

absl::Status Database::Query(absl::string_view name, Work work) { return Run(name, Mode::kStatement, work); }

absl::Status Database::QueryOnce(absl::string_view name, Work work) {
  bool sent = false;
  const absl::Status status = Run(name, Mode::kStatement, [&](pqxx::transaction_base& statement) {
    sent = true;
    return work(statement);
  });
  if (!sent || ReasonOf(status) != "DATABASE_UNAVAILABLE") return status;
  return absl::UnknownError(absl::StrCat(
      "the database was lost during a statement, so it is unknown whether it was done: query=", name));
}

absl::Status Database::Transact(absl::string_view name, Work work) { return Run(name, Mode::kTransaction, work); }

absl::Status Database::TransactRepeatable(absl::string_view name, Work work) {
  const absl::Status status = Run(name, Mode::kTransaction, work);
  return absl::IsUnknown(status) ? DatabaseUnavailable(name, status.message()) : status;
}

absl::Status Database::Run(absl::string_view name, Mode mode, Work work) {
  PACTORY_ASSIGN_OR_RETURN(auto connection, pool_.Acquire(pool_wait_));
  const absl::Status status = GuardPg(name, [&] {
    if (mode == Mode::kStatement) {
      pqxx::nontransaction statement(connection->session);
      return work(statement);
    }
    pqxx::work transaction(connection->session);
    const absl::Status done = work(transaction);
    if (done.ok()) transaction.commit();
    return done;
  });
  if (!connection->session.is_open()) {
    connection.Discard();
    // One lost connection means that the others of its age are lost too.
    pool_.DropIdle();
  }
  return status;
}

PoolStats Database::Stats() const { return pool_.Stats(); }

}  // namespace pactory
