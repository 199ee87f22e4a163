#include "storage/token_store.h"

#include <algorithm>
#include <cctype>
#include <pqxx/pqxx>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/ids.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "storage/row_fields.h"

namespace pactory {
namespace {

constexpr char kPrefix[] = "pactory_";
constexpr int kSecretBytes = 32;

constexpr char kCreate[] = R"sql(
INSERT INTO api_token (tenant_id, kind, name, secret_sha256)
SELECT CASE WHEN $2 = 'USER' THEN (SELECT id FROM tenant WHERE name = $1) END, $2::token_kind, $3, $4
WHERE $2 = 'WORKER' OR EXISTS (SELECT 1 FROM tenant WHERE name = $1)
RETURNING id)sql";

constexpr char kSelectToken[] = R"sql(
SELECT k.id, k.kind, k.tenant_id, t.name, k.name, to_char(k.create_time, 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
  k.revoke_time IS NOT NULL
FROM api_token k LEFT JOIN tenant t ON t.id = k.tenant_id)sql";

TokenInfo TokenOf(const pqxx::row& row) {
  return {.id = row[0].as<std::string>(),
          .kind = row[1].as<std::string>() == "WORKER" ? TokenKind::kWorker : TokenKind::kUser,
          .tenant_id = TextOr(row[2]),
          .tenant_name = TextOr(row[3]),
          .name = row[4].as<std::string>(),
          .create_time = row[5].as<std::string>(),
          .revoked = row[6].as<bool>()};
}

}  // namespace

bool LooksLikeToken(absl::string_view text) {
  constexpr size_t kPrefixSize = sizeof(kPrefix) - 1;
  if (!absl::StartsWith(text, kPrefix) || text.size() != kPrefixSize + 2 * kSecretBytes) return false;
  return std::all_of(text.begin() + kPrefixSize, text.end(), [](unsigned char c) { return std::isxdigit(c) != 0; });
}

absl::StatusOr<std::string> TokenStore::Create(const NewToken& token) {
  std::string secret = absl::StrCat(kPrefix, RandomHex(kSecretBytes));
  const std::string kind = token.kind == TokenKind::kWorker ? "WORKER" : "USER";
  PACTORY_RETURN_IF_ERROR(database_.Query("token.create", [&](pqxx::transaction_base& statement) -> absl::Status {
    const pqxx::result made = statement.exec_params(kCreate, token.tenant, kind, token.name, Sha256Hex(secret));
    if (made.empty()) {
      return absl::NotFoundError(absl::StrCat("there is no such tenant; make it with --create-tenant: ", token.tenant));
    }
    return absl::OkStatus();
  }));
  return secret;
}

absl::StatusOr<std::optional<TokenInfo>> TokenStore::Authenticate(absl::string_view secret) {
  std::optional<TokenInfo> token;
  if (!LooksLikeToken(secret)) return token;
  PACTORY_RETURN_IF_ERROR(database_.Query("token.authenticate", [&](pqxx::transaction_base& statement) {
    const pqxx::result found = statement.exec_params(
        absl::StrCat(kSelectToken, " WHERE k.secret_sha256 = $1 AND k.revoke_time IS NULL"), Sha256Hex(secret));
    if (!found.empty()) token = TokenOf(found[0]);
    return absl::OkStatus();
  }));
  return token;
}

absl::StatusOr<std::vector<TokenInfo>> TokenStore::List() {
  std::vector<TokenInfo> tokens;
  PACTORY_RETURN_IF_ERROR(database_.Query("token.list", [&](pqxx::transaction_base& statement) {
    for (const auto& row : statement.exec(absl::StrCat(kSelectToken, " ORDER BY k.create_time DESC, k.id")))
      tokens.push_back(TokenOf(row));
    return absl::OkStatus();
  }));
  return tokens;
}

absl::Status TokenStore::Revoke(const std::string& id) {
  if (!IsUuid(id)) return absl::InvalidArgumentError(absl::StrCat("a token's id is a UUID, see `token list`: ", id));
  return database_.Query("token.revoke", [&](pqxx::transaction_base& statement) -> absl::Status {
    const pqxx::result revoked = statement.exec_params(
        "UPDATE api_token SET revoke_time = coalesce(revoke_time, now()) WHERE id = $1 RETURNING id", id);
    return revoked.empty() ? absl::NotFoundError(absl::StrCat("there is no such token: ", id)) : absl::OkStatus();
  });
}

absl::Status TokenStore::CreateTenant(const std::string& name) {
  return database_.Query("tenant.create", [&](pqxx::transaction_base& statement) {
    statement.exec_params0("INSERT INTO tenant (name) VALUES ($1)", name);
    return absl::OkStatus();
  });
}

}  // namespace pactory
