// Addresses of databases. Used wherever a connection is made. Stateless.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace pactory {

/// Returns `url` (a postgresql:// URL or `key=value` pairs) as `key=value` pairs with the settings every connection of
/// ours has: connect and statement timeouts, UTC. INVALID_ARGUMENT where it is neither; the message never holds the
/// URL.
absl::StatusOr<std::string> ConnectionString(absl::string_view url);

}  // namespace pactory
