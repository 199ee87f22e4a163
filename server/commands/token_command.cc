#include "server/commands/token_command.h"

#include <cstdio>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "base/status_macros.h"
#include "storage/database.h"

namespace pactory {
namespace {

absl::StatusOr<std::unique_ptr<Database>> OpenDatabase(const std::string& url) {
  return Database::Open({.url = url, .pool_size = 1});
}

}  // namespace

absl::Status CreateToken(const std::string& database_url, const NewToken& token, MissingTenant missing_tenant) {
  PACTORY_ASSIGN_OR_RETURN(const std::unique_ptr<Database> database, OpenDatabase(database_url));
  TokenStore tokens(database.get());
  if (missing_tenant == MissingTenant::kCreate) {
    const absl::Status created = tokens.CreateTenant(token.tenant);
    if (!created.ok() && !absl::IsAlreadyExists(created)) return created;
  }
  PACTORY_ASSIGN_OR_RETURN(const std::string secret, tokens.Create(token));
  std::printf("%s\n", secret.c_str());
  return absl::OkStatus();
}

absl::Status ListTokens(const std::string& database_url) {
  PACTORY_ASSIGN_OR_RETURN(const std::unique_ptr<Database> database, OpenDatabase(database_url));
  PACTORY_ASSIGN_OR_RETURN(const std::vector<TokenInfo> tokens, TokenStore(database.get()).List());
  std::printf("%-36s  %-6s  %-16s  %-20s  %-8s  %s\n", "ID", "KIND", "TENANT", "CREATED", "STATE", "NAME");
  for (const TokenInfo& token : tokens) {
    std::printf("%-36s  %-6s  %-16s  %-20s  %-8s  %s\n", token.id.c_str(),
                token.kind == TokenKind::kUser ? "user" : "worker",
                token.tenant_name.empty() ? "-" : token.tenant_name.c_str(), token.create_time.c_str(),
                token.revoked ? "revoked" : "active", token.name.c_str());
  }
  return absl::OkStatus();
}

absl::Status RevokeToken(const std::string& database_url, const std::string& id) {
  PACTORY_ASSIGN_OR_RETURN(const std::unique_ptr<Database> database, OpenDatabase(database_url));
  return TokenStore(database.get()).Revoke(id);
}

}  // namespace pactory
