#include "storage/status_store.h"

#include <pqxx/pqxx>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "storage/job_rows.h"

namespace pactory {
namespace {

constexpr char kCounts[] =
    "SELECT state, count(*) FROM job WHERE $1 = '' OR tenant_id = nullif($1, '')::uuid GROUP BY state ORDER BY state";

constexpr char kQueue[] = "SELECT count(*), coalesce(greatest(extract(epoch FROM now() - min(ready_time)), 0), 0), " PACTORY_MICROS(
    "now()") " FROM job_ready WHERE $1 = '' OR tenant_id = nullif($1, '')::uuid";

}  // namespace

absl::StatusOr<v1::GetStatusResponse> StatusStore::Read(const std::string& tenant_id) {
  v1::GetStatusResponse status;
  PACTORY_RETURN_IF_ERROR(database_.Query("status.read", [&](pqxx::transaction_base& statement) -> absl::Status {
    for (const auto& row : statement.exec_params(kCounts, tenant_id)) {
      v1::Job::State state = v1::Job::STATE_UNSPECIFIED;
      v1::Job::State_Parse(row[0].as<std::string>(), &state);
      v1::StateCount& count = *status.add_jobs();
      count.set_state(state);
      count.set_count(row[1].as<int64_t>());
    }
    const pqxx::row queue = statement.exec_params1(kQueue, tenant_id);
    status.set_queue_depth(queue[0].as<int>());
    const auto age = queue[1].as<double>();
    status.mutable_oldest_queued_age()->set_seconds(static_cast<int64_t>(age));
    *status.mutable_time() = TimestampOf(queue[2]);
    const pqxx::result running = statement.exec_params(
        absl::StrCat("SELECT ", kJobColumns,
                     "NULL::bigint FROM job_lease l JOIN job j ON j.id = l.job_id "
                     "WHERE $1 = '' OR l.tenant_id = nullif($1, '')::uuid ORDER BY j.start_time, j.id LIMIT 100"),
        tenant_id);
    for (const auto& row : running) {
      PACTORY_ASSIGN_OR_RETURN(*status.add_running(), JobOf(row));
    }
    return absl::OkStatus();
  }));
  return status;
}

absl::Status StatusStore::Ping() {
  return database_.Query("ping", [](pqxx::transaction_base& statement) {
    statement.exec1("SELECT 1");
    return absl::OkStatus();
  });
}

}  // namespace pactory
