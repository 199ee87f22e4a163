// Who calls: bearer tokens in the call's metadata. Used by the call wrapper. Thread-safe.
#pragma once

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "grpcpp/support/string_ref.h"
#include "storage/token_store.h"

namespace pactory {

/// A caller that showed a good token.
struct Caller {
  TokenKind kind = TokenKind::kUser;
  /// Set for users.
  std::string tenant_id;
  /// For logs.
  std::string token_name;
};

/// Looks tokens up, and remembers for a few seconds what it found.
class Authenticator {
 public:
  explicit Authenticator(TokenStore* tokens) : tokens_(*tokens) {}

  /// Returns the caller of the token in `authorization: Bearer pactory_...`; UNAUTHENTICATED without one, or with one
  /// that is unknown or revoked. A revoked token may work for up to 5 s. `now` is another time in tests alone.
  absl::StatusOr<Caller> Authenticate(const std::multimap<grpc::string_ref, grpc::string_ref>& metadata,
                                      absl::Time now = absl::Now());

 private:
  struct Remembered {
    Caller caller;
    absl::Time until;
  };

  TokenStore& tokens_;
  absl::Mutex mutex_;
  // By SHA-256, so that no secret stays in memory.
  std::map<std::string, Remembered> remembered_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace pactory
