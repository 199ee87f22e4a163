#include "server/authentication.h"

#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/error.h"
#include "base/sha256.h"
#include "base/status_macros.h"

namespace pactory {
namespace {

constexpr absl::Duration kRememberFor = absl::Seconds(5);
constexpr size_t kRememberAtMost = 10000;

absl::Status Unauthenticated(absl::string_view message) {
  return WithReason(absl::UnauthenticatedError(message), "UNAUTHENTICATED");
}

}  // namespace

absl::StatusOr<Caller> Authenticator::Authenticate(const std::multimap<grpc::string_ref, grpc::string_ref>& metadata,
                                                   absl::Time now) {
  const auto header = metadata.find("authorization");
  if (header == metadata.end()) {
    return Unauthenticated(
        "a token must be sent as metadata `authorization: Bearer pactory_...`; `pactory-server token create` makes "
        "one");
  }
  absl::string_view token(header->second.data(), header->second.size());
  if (!absl::StartsWithIgnoreCase(token, "bearer "))
    return Unauthenticated("the authorization must be `Bearer pactory_...`");
  token.remove_prefix(sizeof("bearer ") - 1);
  if (!LooksLikeToken(token)) return Unauthenticated("the token must be `pactory_` and 64 hex digits");

  const std::string key = Sha256Hex(token);
  {
    absl::MutexLock lock(&mutex_);
    const auto found = remembered_.find(key);
    if (found != remembered_.end() && now < found->second.until) return found->second.caller;
  }
  PACTORY_ASSIGN_OR_RETURN(const std::optional<TokenInfo> info, tokens_.Authenticate(token));
  absl::MutexLock lock(&mutex_);
  if (!info.has_value()) {
    remembered_.erase(key);
    return Unauthenticated("the token is not known or was revoked; ask for a new one");
  }
  if (remembered_.size() >= kRememberAtMost) remembered_.clear();
  const Caller caller = {.kind = info->kind, .tenant_id = info->tenant_id, .token_name = info->name};
  remembered_[key] = {.caller = caller, .until = now + kRememberFor};
  return caller;
}

}  // namespace pactory
