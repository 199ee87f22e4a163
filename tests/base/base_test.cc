#include <gtest/gtest.h>

#include "base/error.h"
#include "base/ids.h"
#include "base/sha256.h"

namespace pactory {
namespace {

TEST(Sha256Test, MatchesThePublishedVector) {
  EXPECT_EQ(Sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Sha256Test, PiecesGiveTheDigestOfTheWhole) {
  Sha256 digest;
  digest.Update("a");
  digest.Update("");
  digest.Update("bc");
  EXPECT_EQ(digest.FinishHex(), Sha256Hex("abc"));
}

TEST(IdsTest, UuidsAreCanonicalAndDiffer) {
  const std::string uuid = NewUuid();
  EXPECT_TRUE(IsUuid(uuid)) << uuid;
  EXPECT_EQ(uuid[14], '4');
  EXPECT_NE(uuid, NewUuid());
  EXPECT_FALSE(IsUuid("0123"));
}

TEST(IdsTest, IdOfTakesOnlyItsCollection) {
  EXPECT_EQ(IdOf("jobs", "jobs/7"), "7");
  EXPECT_EQ(IdOf("jobs", "models/7"), "");
  EXPECT_EQ(IdOf("jobs", "jobs/7/artifacts/x"), "");
}

TEST(ErrorTest, PrefixKeepsReasonAndField) {
  const absl::Status status = Prefixed(InvalidField("weights.bits", "must be 2 to 8"), "config.");
  EXPECT_EQ(status.message(), "config.weights.bits: must be 2 to 8");
  EXPECT_EQ(ReasonOf(status), "INVALID_FIELD");
  EXPECT_EQ(FieldOf(status), "weights.bits");
}

}  // namespace
}  // namespace pactory
