// The one conversion from absl::Status to what travels over gRPC. Used by the call wrapper. Stateless.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "grpcpp/support/status.h"

namespace pactory {

/// Returns the gRPC status with google.rpc details: ErrorInfo (domain `pactory`; the reason of `status`, else its
/// code's name; `request_id` in the metadata), BadRequest where a field is at fault, RetryInfo where trying again
/// helps. Long messages are cut: statuses travel in headers, which peers limit.
grpc::Status ToGrpcStatus(const absl::Status& status, const std::string& request_id);

}  // namespace pactory
