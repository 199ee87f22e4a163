// Where the server is and how a client proves who it is. Used by the agent and the CLI. Stateless.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace pactory {

/// Whether the connection is encrypted.
enum class Transport {
  /// TLS, except to a loopback address with no `tls_ca`.
  kAuto,
  /// Never TLS: the token travels readable. For networks that are private.
  kPlaintext,
};

/// A server and the token for it.
struct ServerAddress {
  /// `host:port`.
  std::string target;
  std::string token;
  /// PEM file of the CA that signed the server's certificate; empty for the system's CAs.
  std::string tls_ca;
  Transport transport = Transport::kAuto;
};

/// Opens a channel; nothing is connected yet. INVALID_ARGUMENT where the address or the CA file is unusable.
absl::StatusOr<std::shared_ptr<grpc::Channel>> OpenChannel(const ServerAddress& address);

/// Gives a call its token and, unless `timeout` is infinite, its deadline.
void PrepareCall(absl::string_view token, absl::Duration timeout, grpc::ClientContext& context);

/// Reads a token from a file that holds nothing else; the surrounding white space is dropped.
absl::StatusOr<std::string> ReadTokenFile(const std::string& path);

}  // namespace pactory
