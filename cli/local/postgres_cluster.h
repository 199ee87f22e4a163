// The local service's own PostgreSQL: a cluster in a folder, reached by a Unix socket only. Not thread-safe.
#pragma once

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cli/local/program.h"

namespace pactory {

/// A cluster of one service folder. As root, PostgreSQL runs as the user `postgres`, since it refuses root; where that
/// user can't reach the service folder, the cluster lies below its home, and `<folder>/postgres` is a link to it.
class PostgresCluster {
 public:
  /// Finds the programs and the cluster's place; nothing is made yet. FAILED_PRECONDITION where PostgreSQL is not
  /// installed.
  static absl::StatusOr<PostgresCluster> Locate(const std::string& service_folder);

  /// Makes the cluster where there is none, starts it where it does not run, makes the database. Waits until it
  /// answers.
  absl::Status Start() const;

  /// Ends it in order; OK where it does not run.
  absl::Status Stop() const;

  /// The postmaster, where it runs.
  std::optional<pid_t> Find() const;

  /// Removes the cluster's files. Only after Stop.
  absl::Status Delete() const;

  /// URL of the database.
  std::string Url() const;

 private:
  PostgresCluster() = default;
  absl::StatusOr<std::string> Run(const std::string& program, std::vector<std::string> arguments) const;
  absl::Status MakeFolders() const;
  absl::Status Initialize() const;
  absl::Status WriteSettings() const;
  std::string data() const { return root_ + "/data"; }
  std::string log() const { return root_ + "/postgres.log"; }

  std::string service_folder_;
  std::string bin_;
  std::string root_;
  std::string socket_folder_;
  std::optional<SystemUser> user_;
};

}  // namespace pactory
