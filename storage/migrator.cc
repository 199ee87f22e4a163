#include "storage/migrator.h"

#include <algorithm>
#include <pqxx/pqxx>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/error.h"
#include "base/sha256.h"
#include "base/status_macros.h"

namespace pactory {
namespace {

struct EmbeddedMigration {
  const char* stem;
  const char* up;
  const char* down;
};

constexpr EmbeddedMigration kEmbedded[] = {
#include "embedded_migrations.inc"
};

// Any number will do that no other program uses on the same database.
constexpr char kLock[] = "SELECT pg_advisory_xact_lock(7021948350127)";

constexpr char kCreateTable[] =
    "CREATE TABLE IF NOT EXISTS schema_migration ("
    "number integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL, apply_time timestamptz NOT NULL DEFAULT "
    "now())";

std::string StemOf(const Migration& migration) { return absl::StrFormat("%03d_%s", migration.number, migration.name); }

// Compares what was applied with what this program holds; returns the version.
absl::StatusOr<int> CheckApplied(pqxx::transaction_base& transaction, const std::vector<Migration>& migrations) {
  const pqxx::result rows = transaction.exec("SELECT number, checksum FROM schema_migration ORDER BY number");
  int version = 0;
  for (const auto& row : rows) {
    const int number = row[0].as<int>();
    if (number != version + 1) {
      return absl::FailedPreconditionError(
          absl::StrCat("the database must have every migration up to its version: missing=", version + 1));
    }
    if (number > static_cast<int>(migrations.size())) {
      return WithReason(absl::FailedPreconditionError(
                            absl::StrCat("the database is newer than this program; use a newer program: database=",
                                         rows.back()[0].as<int>(), " program=", migrations.size())),
                        "SCHEMA_NEWER");
    }
    const Migration& migration = migrations[number - 1];
    if (row[1].as<std::string>() != migration.checksum) {
      return WithReason(absl::FailedPreconditionError(
                            absl::StrCat("an applied migration must not change: ", StemOf(migration),
                                         " applied=", row[1].as<std::string>(), " program=", migration.checksum)),
                        "SCHEMA_CHANGED");
    }
    version = number;
  }
  return version;
}

enum class StepOutcome { kStepped, kAtTarget };

// Makes one step towards `target`. The lock is taken anew for each step: a server that died in between leaves whole
// steps.
absl::StatusOr<StepOutcome> Step(Database& database, const std::vector<Migration>& migrations, int target,
                                 MigrationReport& report) {
  StepOutcome outcome = StepOutcome::kAtTarget;
  PACTORY_RETURN_IF_ERROR(database.Transact("migrate", [&](pqxx::transaction_base& transaction) -> absl::Status {
    // Another server's migration and a long ALTER TABLE may take their time.
    transaction.exec("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0");
    transaction.exec(kLock);
    transaction.exec(kCreateTable);
    PACTORY_ASSIGN_OR_RETURN(const int version, CheckApplied(transaction, migrations));
    if (report.steps.empty()) report.from = version;
    report.to = version;
    if (version == target) return absl::OkStatus();
    const Migration& migration = migrations[version < target ? version : version - 1];
    if (version < target) {
      transaction.exec(migration.up);
      transaction.exec_params("INSERT INTO schema_migration (number, name, checksum) VALUES ($1, $2, $3)",
                              migration.number, migration.name, migration.checksum);
      report.steps.push_back(absl::StrCat("up ", StemOf(migration)));
      report.to = version + 1;
    } else {
      transaction.exec(migration.down);
      transaction.exec_params("DELETE FROM schema_migration WHERE number = $1", migration.number);
      report.steps.push_back(absl::StrCat("down ", StemOf(migration)));
      report.to = version - 1;
    }
    outcome = StepOutcome::kStepped;
    return absl::OkStatus();
  }));
  return outcome;
}

}  // namespace

std::vector<Migration> EmbeddedMigrations() {
  std::vector<Migration> migrations;
  for (const EmbeddedMigration& embedded : kEmbedded) {
    const std::string stem = embedded.stem;
    Migration migration;
    if (!absl::SimpleAtoi(stem.substr(0, 3), &migration.number)) continue;
    migration.name = stem.substr(4);
    migration.up = embedded.up;
    migration.down = embedded.down;
    migration.checksum = Sha256Hex(migration.up);
    migrations.push_back(std::move(migration));
  }
  std::sort(migrations.begin(), migrations.end(),
            [](const Migration& a, const Migration& b) { return a.number < b.number; });
  return migrations;
}

absl::StatusOr<MigrationReport> Migrate(Database& database, const std::vector<Migration>& migrations, int target) {
  if (target < 0 || target > static_cast<int>(migrations.size())) {
    return absl::InvalidArgumentError(
        absl::StrCat("the version must be one of 0 to ", migrations.size(), ": ", target));
  }
  MigrationReport report;
  while (true) {
    PACTORY_ASSIGN_OR_RETURN(const StepOutcome outcome, Step(database, migrations, target, report));
    if (outcome == StepOutcome::kAtTarget) return report;
  }
}

absl::StatusOr<int> SchemaVersion(Database& database) {
  int version = 0;
  PACTORY_RETURN_IF_ERROR(database.Query("schema.version", [&](pqxx::transaction_base& statement) {
    const pqxx::row found = statement.exec1("SELECT to_regclass('schema_migration') IS NOT NULL");
    if (found[0].as<bool>()) {
      version = statement.exec1("SELECT coalesce(max(number), 0) FROM schema_migration")[0].as<int>();
    }
    return absl::OkStatus();
  }));
  return version;
}

}  // namespace pactory
