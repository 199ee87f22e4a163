// gRPC's status as absl::Status, with the reason and the field that the server's google.rpc details name. Used by every
// caller of the services. Stateless.
#pragma once

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace pactory {

/// Converts a status; ReasonOf and FieldOf (base/error.h) find what ErrorInfo and BadRequest held.
absl::Status FromGrpcStatus(const grpc::Status& status);

/// Whether the same call may succeed later without a change: the server is away, busy or slow.
bool IsTransient(const absl::Status& status);

/// Whether the lease the call named belongs to another worker by now.
bool IsLeaseLost(const absl::Status& status);

}  // namespace pactory
