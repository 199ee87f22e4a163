// Addresses the server listens on. Used at start-up. Stateless.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace pactory {

struct ListenAddress {
  std::string host;
  /// 0: any free port.
  int port = 0;
  /// Whether only this machine can reach it.
  bool loopback = false;
};

/// Parses `host:port` or `[v6]:port`; INVALID_ARGUMENT where it is neither.
absl::StatusOr<ListenAddress> ParseListenAddress(absl::string_view text);

/// Returns `host:port`, with brackets around an IPv6 address.
std::string JoinHostPort(absl::string_view host, int port);

}  // namespace pactory
