// What makes a create idempotent: its request id. Used by the stores of models, datasets and jobs. A value.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace pactory {

/// The client's number of a create call, and what was in it.
struct RequestKey {
  /// UUID; "" where the client gave none, then every call creates.
  std::string id;
  /// SHA-256 of the request's content.
  std::string sha256;
};

/// Returns INVALID_ARGUMENT: a request id was used again for something else.
absl::Status RequestIdReused(const RequestKey& key);

}  // namespace pactory
