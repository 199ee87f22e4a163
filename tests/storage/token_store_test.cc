#include "storage/token_store.h"

#include "gtest/gtest.h"
#include "tests/postgres/test_database.h"

namespace pactory {
namespace {

using TokenStoreTest = DatabaseTest;

TEST_F(TokenStoreTest, ATokenNamesItsTenantUntilItIsRevoked) {
  TokenStore tokens(database_.get());
  const auto secret = tokens.Create({.kind = TokenKind::kUser, .tenant = "default", .name = "alice"});
  ASSERT_TRUE(secret.ok()) << secret.status();
  EXPECT_TRUE(LooksLikeToken(*secret));
  const auto info = tokens.Authenticate(*secret);
  ASSERT_TRUE(info.ok() && info->has_value());
  EXPECT_EQ((*info)->tenant_id, tenant_);
  EXPECT_EQ((*info)->name, "alice");
  ASSERT_TRUE(tokens.Revoke((*info)->id).ok());
  EXPECT_FALSE(tokens.Authenticate(*secret)->has_value());
}

TEST_F(TokenStoreTest, TheSecretIsNotInTheDatabase) {
  const std::string secret =
      *TokenStore(database_.get()).Create({.kind = TokenKind::kUser, .tenant = "default", .name = "x"});
  EXPECT_EQ(Sql("SELECT count(*) FROM api_token WHERE api_token::text LIKE '%" + secret.substr(8) + "%'"), "0");
}

TEST_F(TokenStoreTest, WorkersBelongToNoTenant) {
  TokenStore tokens(database_.get());
  const auto info = tokens.Authenticate(*tokens.Create({.kind = TokenKind::kWorker, .tenant = "default", .name = "w"}));
  ASSERT_TRUE(info.ok() && info->has_value());
  EXPECT_EQ((*info)->kind, TokenKind::kWorker);
  EXPECT_EQ((*info)->tenant_id, "");
}

TEST_F(TokenStoreTest, AnUnknownTenantIsNamed) {
  TokenStore tokens(database_.get());
  const auto refused = tokens.Create({.kind = TokenKind::kUser, .tenant = "nobody", .name = ""});
  EXPECT_TRUE(absl::IsNotFound(refused.status()));
  EXPECT_NE(refused.status().message().find("nobody"), std::string::npos);
  ASSERT_TRUE(tokens.CreateTenant("nobody").ok());
  EXPECT_TRUE(tokens.Create({.kind = TokenKind::kUser, .tenant = "nobody", .name = ""}).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(tokens.CreateTenant("nobody")));
}

TEST_F(TokenStoreTest, GuessesAreNobody) {
  TokenStore tokens(database_.get());
  EXPECT_FALSE(tokens.Authenticate("pactory_" + std::string(64, '0'))->has_value());
  EXPECT_FALSE(tokens.Authenticate("' OR 1=1 --")->has_value());
  EXPECT_FALSE(tokens.Authenticate("")->has_value());
}

}  // namespace
}  // namespace pactory
