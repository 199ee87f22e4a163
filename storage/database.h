// Access to PostgreSQL for the stores: connections, transactions, and errors as absl::Status. Thread-safe.
#pragma once

#include <memory>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "storage/pool.h"

namespace pqxx {
class transaction_base;
}

namespace pactory {

/// How the database is reached.
struct DatabaseOptions {
  /// postgresql:// URL or `key=value` pairs.
  std::string url;
  /// Connections at most.
  int pool_size = 8;
  /// How long a caller waits for one of them.
  absl::Duration pool_wait = absl::Seconds(5);
};

/// Runs queries on pooled connections. A broken connection is closed and never reconnects in silence, which would lose
/// the state of its session; the next caller gets a new one.
class Database {
 public:
  using Work = absl::FunctionRef<absl::Status(pqxx::transaction_base&)>;

  /// Makes the pool; connects nothing yet. INVALID_ARGUMENT for a URL that is none.
  static absl::StatusOr<std::unique_ptr<Database>> Open(const DatabaseOptions& options);
  ~Database();

  /// Runs `work`, each statement on its own. For one statement, which is atomic by itself.
  absl::Status Query(absl::string_view name, Work work);

  /// As Query, for a statement that must not be done twice: UNKNOWN where the database was lost while it ran.
  absl::Status QueryOnce(absl::string_view name, Work work);

  /// Runs `work` in one transaction: committed when it returns OK, else rolled back. UNKNOWN where the database was
  /// lost during the commit.
  absl::Status Transact(absl::string_view name, Work work);

  /// As Transact, for work that may be done twice: a commit with an unknown outcome is UNAVAILABLE, so that callers
  /// repeat it.
  absl::Status TransactRepeatable(absl::string_view name, Work work);

  /// The address as given, for connections of another kind (blob chunks, notifications).
  const std::string& connection_string() const { return connection_string_; }

  PoolStats Stats() const;

 private:
  struct Connection;
  enum class Mode { kStatement, kTransaction };
  Database(std::string connection_string, const DatabaseOptions& options);
  absl::Status Run(absl::string_view name, Mode mode, Work work);

  const std::string connection_string_;
  const absl::Duration pool_wait_;
  Pool<Connection> pool_;
};

}  // namespace pactory
