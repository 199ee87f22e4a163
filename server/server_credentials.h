// How the server proves who it is. Used at start-up. Stateless.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "grpcpp/security/server_credentials.h"

namespace pactory {

/// Returns TLS credentials of PEM files that are read again when they change, or plain ones where both names are "".
/// INVALID_ARGUMENT where only one is given or a file can't be read.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(const std::string& cert_file,
                                                                               const std::string& key_file);

}  // namespace pactory
