// `pactory-server tenant list|set`. Used by main.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "server/commands/doctor_command.h"
#include "storage/tenant_store.h"

namespace pactory {

/// Prints every tenant with its share, its limits and its jobs.
absl::Status ListTenants(const std::string& database_url, ReportFormat format);

/// Changes a tenant's share or limits; they hold from the next claim and the next submit on.
absl::Status ChangeTenant(const std::string& database_url, const TenantChange& change);

}  // namespace pactory
