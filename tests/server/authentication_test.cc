#include "server/authentication.h"

#include "gtest/gtest.h"
#include "tests/postgres/test_database.h"

namespace pactory {
namespace {

class AuthenticationTest : public DatabaseTest {
 protected:
  absl::StatusOr<Caller> Call(const std::string& authorization, absl::Time now) {
    return authenticator().Authenticate({{"authorization", authorization}}, now);
  }

  Authenticator& authenticator() {
    if (authenticator_ == nullptr) {
      tokens_ = std::make_unique<TokenStore>(database_.get());
      authenticator_ = std::make_unique<Authenticator>(tokens_.get());
    }
    return *authenticator_;
  }

  std::unique_ptr<TokenStore> tokens_;
  std::unique_ptr<Authenticator> authenticator_;
};

TEST_F(AuthenticationTest, ARevokedTokenIsForgottenAfterFiveSeconds) {
  authenticator();
  const std::string secret = *tokens_->Create({.kind = TokenKind::kUser, .tenant = "default", .name = "alice"});
  const std::string header = "Bearer " + secret;
  const absl::Time start = absl::Now();
  const auto caller = Call(header, start);
  ASSERT_TRUE(caller.ok()) << caller.status();
  EXPECT_EQ(caller->tenant_id, tenant_);
  ASSERT_TRUE(tokens_->Revoke((*tokens_->Authenticate(secret))->id).ok());
  EXPECT_EQ(Call(header, start + absl::Seconds(5)).status().code(), absl::StatusCode::kUnauthenticated);
  // And stays so.
  EXPECT_EQ(Call(header, start).status().code(), absl::StatusCode::kUnauthenticated);
}

TEST_F(AuthenticationTest, WhatIsNoTokenIsToldApartFromOneThatIsNotKnown) {
  const absl::Time now = absl::Now();
  EXPECT_NE(Call("Basic abc", now).status().message().find("Bearer"), std::string::npos);
  EXPECT_NE(Call("Bearer pactory_12", now).status().message().find("64 hex digits"), std::string::npos);
  EXPECT_NE(Call("bearer pactory_" + std::string(64, 'a'), now).status().message().find("not known"), std::string::npos);
}

}  // namespace
}  // namespace pactory
