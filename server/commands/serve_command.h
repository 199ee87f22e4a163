// `pactory-server serve`. Used by main.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "server/server.h"

namespace pactory {

/// What `serve` is asked to do.
struct ServeCommand {
  ServerOptions server;
  /// Where the addresses are written once calls are taken; "" for nowhere.
  std::string ready_file;
  enum class Schema { kMustBeCurrent, kMigrate } schema = Schema::kMustBeCurrent;
};

/// Serves until SIGTERM or SIGINT. Waits for a database that does not answer yet.
absl::Status RunServe(const ServeCommand& command);

}  // namespace pactory
