#include "storage/page.h"

#include "base/error.h"
#include "gtest/gtest.h"

namespace pactory {
namespace {

TEST(PageTest, TokenBringsItsCursorBack) {
  const auto cursor = DecodePageToken(EncodePageToken({.position = 42, .id = "a|b"}, "jobs|t"), "jobs|t");
  ASSERT_TRUE(cursor.ok()) << cursor.status();
  EXPECT_EQ(cursor->position, 42);
  EXPECT_EQ(cursor->id, "a|b");
}

TEST(PageTest, TokenOfAnotherListIsRefusedByName) {
  const auto cursor = DecodePageToken(EncodePageToken({.position = 42, .id = "a"}, "jobs|t"), "jobs|other");
  EXPECT_TRUE(absl::IsInvalidArgument(cursor.status()));
  EXPECT_EQ(FieldOf(cursor.status()), "page_token");
}

TEST(PageTest, GarbageTokensAreRefused) {
  for (const std::string& token :
       {std::string("x"), std::string("%%%"), std::string(5000, 'a'), std::string("YXxifGM=")}) {
    EXPECT_TRUE(absl::IsInvalidArgument(DecodePageToken(token, "jobs").status())) << token;
  }
}

TEST(PageTest, SizesAreTakenAsTheContractSays) {
  EXPECT_EQ(MakePageRequest(0, "", PageLimits{})->size, 50);
  EXPECT_EQ(MakePageRequest(7, "", PageLimits{})->size, 7);
  EXPECT_EQ(MakePageRequest(5000, "", PageLimits{})->size, 1000);
  EXPECT_EQ(FieldOf(MakePageRequest(-1, "", PageLimits{}).status()), "page_size");
}

}  // namespace
}  // namespace pactory
