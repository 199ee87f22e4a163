#include "server/commands/tenant_command.h"

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "storage/database.h"

namespace pactory {
namespace {

std::string LimitText(std::optional<int64_t> limit) { return limit.has_value() ? absl::StrCat(*limit) : "-"; }

nlohmann::ordered_json LimitJson(std::optional<int64_t> limit) {
  return limit.has_value() ? nlohmann::ordered_json(*limit) : nlohmann::ordered_json(nullptr);
}

}  // namespace

absl::Status ListTenants(const std::string& database_url, ReportFormat format) {
  PACTORY_ASSIGN_OR_RETURN(const std::unique_ptr<Database> database, Database::Open({.url = database_url, .pool_size = 1}));
  PACTORY_ASSIGN_OR_RETURN(const std::vector<TenantInfo> tenants, TenantStore(database.get()).List());
  if (format == ReportFormat::kJson) {
    nlohmann::ordered_json json = nlohmann::ordered_json::array();
    for (const TenantInfo& tenant : tenants) {
      json.push_back({{"name", tenant.name},
                      {"weight", tenant.weight},
                      {"max_running", LimitJson(tenant.max_running)},
                      {"max_queued", LimitJson(tenant.max_queued)},
                      {"running", tenant.running},
                      {"queued", tenant.queued},
                      {"mean_seconds", tenant.mean_seconds}});
    }
    std::printf("%s\n", json.dump(2).c_str());
    return absl::OkStatus();
  }
  std::printf("%-24s  %6s  %11s  %10s  %7s  %8s  %12s\n", "TENANT", "WEIGHT", "MAX RUNNING", "MAX QUEUED", "RUNNING",
              "QUEUED", "MEAN SECONDS");
  for (const TenantInfo& tenant : tenants) {
    std::printf("%-24s  %6d  %11s  %10s  %7lld  %8lld  %12.1f\n", tenant.name.c_str(), tenant.weight,
                LimitText(tenant.max_running).c_str(), LimitText(tenant.max_queued).c_str(),
                static_cast<long long>(tenant.running), static_cast<long long>(tenant.queued), tenant.mean_seconds);
  }
  return absl::OkStatus();
}

absl::Status ChangeTenant(const std::string& database_url, const TenantChange& change) {
  PACTORY_ASSIGN_OR_RETURN(const std::unique_ptr<Database> database, Database::Open({.url = database_url, .pool_size = 1}));
  return TenantStore(database.get()).Change(change);
}

}  // namespace pactory
