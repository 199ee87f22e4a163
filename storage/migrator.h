// Brings a database to a version of the schema. Used by `pactory-server migrate` and at start-up. Thread-compatible.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "storage/database.h"

namespace pactory {

/// One step of the schema.
struct Migration {
  int number = 0;
  /// Like `create_job`.
  std::string name;
  std::string up;
  std::string down;
  /// SHA-256 of `up`.
  std::string checksum;
};

/// What Migrate did.
struct MigrationReport {
  int from = 0;
  int to = 0;
  /// Like `up 005_create_job`.
  std::vector<std::string> steps;
};

/// Returns the migrations of this program, by number from 1.
std::vector<Migration> EmbeddedMigrations();

/// Brings the database up or down to version `target`, each step in a transaction of its own, under an advisory lock,
/// so that several servers may start at once. FAILED_PRECONDITION where an applied migration differs from `migrations`,
/// or where the database is newer than they are.
absl::StatusOr<MigrationReport> Migrate(Database& database, const std::vector<Migration>& migrations, int target);

/// Returns the version of the database's schema; 0 for an empty one.
absl::StatusOr<int> SchemaVersion(Database& database);

}  // namespace pactory
