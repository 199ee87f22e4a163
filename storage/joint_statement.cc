#include "storage/joint_statement.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace pactory {

absl::StatusOr<pqxx::result> JointStatement::Run(Parameters parameters) {
  Caller caller = {.parameters = std::move(parameters)};
  std::vector<Caller*> callers;
  {
    absl::MutexLock lock(&mutex_);
    line_.push_back(&caller);
    const auto called = [&] {
      mutex_.AssertReaderHeld();
      return caller.place != Caller::Place::kInLine || (!under_way_ && line_.front() == &caller);
    };
    mutex_.Await(absl::Condition(&called));
    if (caller.place == Caller::Place::kInLine) {
      callers.swap(line_);
      under_way_ = true;
    }
  }
  if (!callers.empty()) ServeLine(std::move(callers));
  if (caller.place == Caller::Place::kServed) return std::move(caller.rows);
  const absl::Status alone = Serve({&caller});
  return alone.ok() ? std::move(caller.rows) : alone;
}

void JointStatement::ServeLine(std::vector<Caller*> callers) {
  // Whichever transactions meet, of this server or another, lock the same rows in the same order.
  std::sort(callers.begin(), callers.end(), [](const Caller* a, const Caller* b) { return a->parameters < b->parameters; });
  const absl::Status status = Serve(callers);
  // Nothing of the transaction was done. Where it was not for the database, one of them was the reason.
  const bool separate = callers.size() > 1 && !status.ok() && !absl::IsUnavailable(status) && !absl::IsResourceExhausted(status);
  absl::MutexLock lock(&mutex_);
  under_way_ = false;
  for (Caller* served : callers) {
    if (!status.ok()) served->rows = status;
    served->place = separate ? Caller::Place::kAlone : Caller::Place::kServed;
  }
}

absl::Status JointStatement::Serve(const std::vector<Caller*>& callers) {
  return database_.Query(name_, [&](pqxx::transaction_base& statement) { return Execute(statement, callers); });
}

absl::Status JointStatement::Execute(pqxx::transaction_base& statement, const std::vector<Caller*>& callers) const {
  statement.conn().prepare(name_, sql_);
  statement.conn().prepare_now(name_);
  // What goes to the database in one message without a BEGIN is one transaction, which ends with the message.
  pqxx::pipeline message(statement);
  message.retain(static_cast<int>(callers.size()) + 2);
  if (!begin_.empty()) message.insert(begin_);
  std::vector<pqxx::pipeline::query_id> ids;
  for (const Caller* caller : callers) ids.push_back(message.insert(ExecuteSql(statement, caller->parameters)));
  try {
    // The last answer comes after the commit; without it none of the others counts.
    message.complete();
    for (size_t i = 0; i < callers.size(); ++i) callers[i]->rows = message.retrieve(ids[i]);
  } catch (const std::exception& error) {
    if (!statement.conn().is_open()) throw pqxx::broken_connection(error.what());
    throw;
  }
  return absl::OkStatus();
}

std::string JointStatement::ExecuteSql(const pqxx::transaction_base& statement, const Parameters& parameters) const {
  const auto literal = [&statement](std::string* text, const std::string& parameter) {
    absl::StrAppend(text, statement.quote(parameter));
  };
  return absl::StrCat("EXECUTE ", statement.quote_name(name_), " (", absl::StrJoin(parameters, ", ", literal), ")");
}

}  // namespace pactory
