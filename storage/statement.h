// Statements that are run all the time: PostgreSQL parses and plans each once per connection. Only for .cc files of storage/: it
// pulls libpqxx in. Stateless.
#pragma once

#include <optional>
#include <pqxx/pqxx>
#include <string>
#include <utility>
#include <vector>

namespace pactory {

/// SQL with parameters $1, $2, ...
struct Statement {
  /// Unlike that of every other statement.
  const char* name;
  const char* sql;
};

/// Runs a statement, prepared by the connection's first use of it.
template <typename... Values>
pqxx::result Run(pqxx::transaction_base& transaction, const Statement& statement, Values&&... values) {
  transaction.conn().prepare(statement.name, statement.sql);
  return transaction.exec_prepared(statement.name, std::forward<Values>(values)...);
}

/// A statement's parameters as text; nullopt for NULL.
using Parameters = std::vector<std::optional<std::string>>;

/// As Run, for parameters that were put together before.
inline pqxx::result RunWith(pqxx::transaction_base& transaction, const Statement& statement, const Parameters& parameters) {
  std::vector<const char*> values;
  for (const auto& parameter : parameters) values.push_back(parameter.has_value() ? parameter->c_str() : nullptr);
  return Run(transaction, statement, pqxx::prepare::make_dynamic_params(values));
}

}  // namespace pactory
