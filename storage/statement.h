// Statements that are run all the time: PostgreSQL parses and plans each once per connection. Only for .cc files of storage/: it
// pulls libpqxx in. Stateless.
#pragma once

#include <pqxx/pqxx>
#include <utility>

namespace pactory {

/// SQL with parameters $1, $2, ...
struct Statement {
  /// Unlike that of every other statement.
  const char* name;
  const char* sql;
};

/// Runs a statement, prepared by the connection's first use of it.
template <typename... Parameters>
pqxx::result Run(pqxx::transaction_base& transaction, const Statement& statement, Parameters&&... parameters) {
  transaction.conn().prepare(statement.name, statement.sql);
  return transaction.exec_prepared(statement.name, std::forward<Parameters>(parameters)...);
}

}  // namespace pactory
