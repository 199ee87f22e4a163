#include "base/utf8.h"

#include <gtest/gtest.h>

namespace pactory {
namespace {

TEST(Utf8Test, TakesWellFormedText) {
  for (const char* text : {"", "plain", "\u00e9", "\u5377\u79ef", "\U0001f600", "\U0010ffff"}) {
    EXPECT_TRUE(IsUtf8(text)) << text;
  }
}

TEST(Utf8Test, RefusesWhatIsNone) {
  for (const char* text : {"\xff", "\x80", "a\xc3", "\xe5\x8d", "\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80", 
                           "\xf0\x80\x80\xaf", "\xf4\x90\x80\x80", "\xc3(", "\xf5\x80\x80\x80"}) {
    EXPECT_FALSE(IsUtf8(text)) << text;
  }
}

}  // namespace
}  // namespace pactory
