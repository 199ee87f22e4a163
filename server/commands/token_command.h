// `pactory-server token create|list|revoke`. Used by main.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "storage/token_store.h"

namespace pactory {

/// What `token create` does about a tenant that does not exist.
enum class MissingTenant { kRefuse, kCreate };

/// Makes a token and prints it, and nothing else, to standard output.
absl::Status CreateToken(const std::string& database_url, const NewToken& token, MissingTenant missing_tenant);

/// Prints every token without its secret.
absl::Status ListTokens(const std::string& database_url);

/// Makes a token worthless.
absl::Status RevokeToken(const std::string& database_url, const std::string& id);

}  // namespace pactory
