// A statement that callers who come together run together: while one transaction of it is under way, those who come wait in line, and
// the next one serves them all with one message to the database, one commit and one sync of the disk. There is no timer: who comes
// alone does not wait. A server that stands still holds no locks, as nothing is asked of it between the message and its commit.
// Group commit (DeWitt et al. 1984), above the database. Only for .cc files of storage/: it pulls libpqxx in. Thread-safe.
#pragma once

#include <pqxx/pqxx>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "storage/database.h"

namespace pactory {

/// A statement's parameters as text.
using Parameters = std::vector<std::string>;

/// One statement with parameters, for the callers of one process.
class JointStatement {
 public:
  /// `name`: as in Statement. `begin`: SQL without parameters that each of its transactions runs first; "" for none.
  JointStatement(Database* database, std::string name, std::string sql, std::string begin = "")
      : database_(*database), name_(std::move(name)), sql_(std::move(sql)), begin_(std::move(begin)) {}

  /// Runs the statement and returns its rows once they are committed. It sees what those before it in the transaction did. May be
  /// done twice: UNAVAILABLE where the database was lost, whatever became of it. Another caller's failure is not this one's: then each
  /// of them runs it alone.
  absl::StatusOr<pqxx::result> Run(Parameters parameters);

  /// Callers whose transaction has not begun.
  size_t waiting() const {
    absl::MutexLock lock(&mutex_);
    return line_.size();
  }

 private:
  struct Caller {
    const Parameters parameters;
    enum class Place { kInLine, kAlone, kServed } place = Place::kInLine;
    absl::StatusOr<pqxx::result> rows = absl::UnknownError("");
  };
  void ServeLine(std::vector<Caller*> callers) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status Serve(const std::vector<Caller*>& callers);
  absl::Status Execute(pqxx::transaction_base& statement, const std::vector<Caller*>& callers) const;
  std::string ExecuteSql(const pqxx::transaction_base& statement, const Parameters& parameters) const;

  Database& database_;
  const std::string name_;
  const std::string sql_;
  const std::string begin_;
  mutable absl::Mutex mutex_;
  std::vector<Caller*> line_ ABSL_GUARDED_BY(mutex_);
  bool under_way_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace pactory
