#include "server/commands/migrate_command.h"

#include <spdlog/spdlog.h>

#include <memory>
#include <vector>

#include "base/status_macros.h"
#include "storage/database.h"
#include "storage/migrator.h"

namespace pactory {

absl::Status MigrateUp(const std::string& database_url) {
  return MigrateTo(database_url, static_cast<int>(EmbeddedMigrations().size()));
}

absl::Status MigrateTo(const std::string& database_url, int version) {
  PACTORY_ASSIGN_OR_RETURN(const std::unique_ptr<Database> database,
                           Database::Open({.url = database_url, .pool_size = 1}));
  PACTORY_ASSIGN_OR_RETURN(const MigrationReport report, Migrate(*database, EmbeddedMigrations(), version));
  for (const std::string& step : report.steps) spdlog::info("migrate: {}", step);
  spdlog::info("migrate: the schema is at version {} (was {})", report.to, report.from);
  return absl::OkStatus();
}

}  // namespace pactory
