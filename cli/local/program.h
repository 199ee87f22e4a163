// Starts programs of the local service: to their end, or detached from this process. Stateless.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace pactory {

/// A user of the system, to run a program as.
struct SystemUser {
  std::string name;
  uid_t uid = 0;
  gid_t gid = 0;
};

/// Looks a user up; NOT_FOUND.
absl::StatusOr<SystemUser> FindSystemUser(const std::string& name);

/// What to run.
struct Program {
  /// Path and arguments.
  std::vector<std::string> argv;
  /// Whom to run as; only root may say so. nullopt: as this process.
  std::optional<SystemUser> user = std::nullopt;
};

/// Runs a program to its end in `/`, with no input; returns what it wrote to standard output. A program that fails
/// gives INTERNAL with what it wrote to either.
absl::StatusOr<std::string> RunProgram(const Program& program);

/// Starts a program in a session of its own, its output appended to `log_path`; returns its process id. The variables
/// PACTORY_* that choose a server or a token are not passed on.
absl::StatusOr<pid_t> StartDetached(const Program& program, const std::string& log_path);

}  // namespace pactory
