// Which server a command talks to: flags, then environment, then the client config file, then the local service.
// Stateless.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/server_address.h"

namespace pactory {

/// What the command line says; "" where it does not.
struct ClientFlags {
  std::string server = {};
  std::string token = {};
  std::string tls_ca = {};
  Transport transport = Transport::kAuto;
  /// How long a server that went away in the middle is waited for.
  double patience_seconds = 120;
};

/// Returns the server and the token to use. A token of the config file goes only to the file's own server.
/// INVALID_ARGUMENT names a broken file; FAILED_PRECONDITION where nothing names a server.
absl::StatusOr<ServerAddress> FindServer(const ClientFlags& flags);

/// Reads a client config: YAML with `server`, `token`, `tls_ca`, `plaintext`. INVALID_ARGUMENT names the file and the
/// key.
absl::StatusOr<ServerAddress> ReadClientConfig(const std::string& path);

/// Writes one, readable by its owner only.
absl::Status WriteClientConfig(const std::string& path, const ServerAddress& address);

/// Folder of the local service where `--dir` does not name another.
std::string DefaultLocalFolder();

}  // namespace pactory
