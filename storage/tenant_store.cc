#include "storage/tenant_store.h"

#include <pqxx/pqxx>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace pactory {
namespace {

constexpr char kList[] = R"sql(
SELECT t.name, t.weight, t.max_running, t.max_queued,
  (SELECT count(*) FROM job_lease l WHERE l.tenant_id = t.id), (SELECT count(*) FROM job_ready r WHERE r.tenant_id = t.id),
  CASE WHEN EXISTS (SELECT 1 FROM tenant_share h WHERE h.tenant_id = t.id) THEN s.mean_seconds ELSE 0 END
FROM tenant t JOIN tenant_standing s ON s.tenant_id = t.id ORDER BY t.name)sql";

// 0 stands for a weight that stays, -2 for a limit that stays, -1 for none.
constexpr char kChange[] = R"sql(
UPDATE tenant SET weight = coalesce(nullif($2::integer, 0), weight),
  max_running = CASE WHEN $3::bigint = -2 THEN max_running ELSE nullif($3::bigint, -1) END,
  max_queued = CASE WHEN $4::bigint = -2 THEN max_queued ELSE nullif($4::bigint, -1) END
WHERE name = $1 RETURNING id)sql";

constexpr int64_t kStays = -2;

std::optional<int64_t> LimitOf(const pqxx::field& field) {
  if (field.is_null()) return std::nullopt;
  return field.as<int64_t>();
}

}  // namespace

absl::StatusOr<std::vector<TenantInfo>> TenantStore::List() {
  std::vector<TenantInfo> tenants;
  PACTORY_RETURN_IF_ERROR(database_.Query("tenant.list", [&](pqxx::transaction_base& statement) {
    for (const auto& row : statement.exec(kList)) {
      tenants.push_back({.name = row[0].as<std::string>(),
                         .weight = row[1].as<int>(),
                         .max_running = LimitOf(row[2]),
                         .max_queued = LimitOf(row[3]),
                         .running = row[4].as<int64_t>(),
                         .queued = row[5].as<int64_t>(),
                         .mean_seconds = row[6].as<double>()});
    }
    return absl::OkStatus();
  }));
  return tenants;
}

absl::Status TenantStore::Change(const TenantChange& change) {
  return database_.Query("tenant.change", [&](pqxx::transaction_base& statement) -> absl::Status {
    const pqxx::result changed =
        statement.exec_params(kChange, change.name, change.weight.value_or(0), change.max_running.value_or(kStays),
                              change.max_queued.value_or(kStays));
    if (!changed.empty()) return absl::OkStatus();
    return absl::NotFoundError(
        absl::StrCat("there is no such tenant; `pactory-server tenant list` prints them: ", change.name));
  });
}

}  // namespace pactory
