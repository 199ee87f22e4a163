// API tokens: who may call. Used by the server's authentication and by `pactory-server token`. Thread-safe.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "storage/database.h"

namespace pactory {

/// Who a token is for.
enum class TokenKind { kUser, kWorker };

/// A token without its secret.
struct TokenInfo {
  std::string id;
  TokenKind kind = TokenKind::kUser;
  /// Set for users; workers belong to no tenant.
  std::string tenant_id;
  std::string tenant_name;
  std::string name;
  /// RFC 3339, UTC.
  std::string create_time;
  bool revoked = false;
};

/// What a new token is.
struct NewToken {
  TokenKind kind = TokenKind::kUser;
  /// Name of the tenant; not used for workers.
  std::string tenant = "default";
  std::string name;
};

/// Tokens and tenants.
class TokenStore {
 public:
  explicit TokenStore(Database* database) : database_(*database) {}

  /// Makes a token and returns it whole, the only time it can be seen. NOT_FOUND names a tenant that does not exist.
  absl::StatusOr<std::string> Create(const NewToken& token);

  /// Returns who holds the token; nullopt where it was never made or is revoked.
  absl::StatusOr<std::optional<TokenInfo>> Authenticate(absl::string_view secret);

  /// Returns every token, newest first.
  absl::StatusOr<std::vector<TokenInfo>> List();

  /// Makes a token worthless. NOT_FOUND where the id is none.
  absl::Status Revoke(const std::string& id);

  /// Makes a tenant; ALREADY_EXISTS where its name is taken.
  absl::Status CreateTenant(const std::string& name);

 private:
  Database& database_;
};

/// Whether `text` has the form of a token, which tells typing errors from unknown tokens without a query.
bool LooksLikeToken(absl::string_view text);

}  // namespace pactory
