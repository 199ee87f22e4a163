#include "storage/page.h"

#include <algorithm>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/error.h"
#include "base/sha256.h"

namespace pactory {
namespace {

// Tells a token of another list, or one that was tampered with, from ours. It guards no secret: rows are filtered by
// tenant whatever the token says.
std::string Seal(absl::string_view content, absl::string_view scope) {
  return Sha256Hex(absl::StrCat("pactory page 1|", scope, "|", content)).substr(0, 16);
}

}  // namespace

absl::StatusOr<PageRequest> MakePageRequest(int32_t page_size, absl::string_view page_token, const PageLimits& limits) {
  if (page_size < 0) return InvalidField("page_size", absl::StrCat("must not be negative: ", page_size));
  PageRequest request;
  request.size = page_size == 0 ? limits.default_size : std::min(page_size, limits.max_size);
  request.token = std::string(page_token);
  return request;
}

PageCursor BeforeTheNewest() {
  // Far in the future, and still exact as a double, which SQL multiplies intervals with.
  constexpr int64_t kYear2255 = 9'000'000'000'000'000;
  return {.position = kYear2255, .id = "ffffffff-ffff-ffff-ffff-ffffffffffff"};
}

std::string EncodePageToken(const PageCursor& cursor, absl::string_view scope) {
  const std::string content = absl::StrCat(cursor.position, "|", cursor.id);
  return absl::WebSafeBase64Escape(absl::StrCat(Seal(content, scope), "|", content));
}

absl::StatusOr<PageCursor> DecodePageToken(absl::string_view token, absl::string_view scope) {
  const absl::Status bad =
      InvalidField("page_token", "must come from the previous response of the same list; start again without it");
  std::string text;
  if (token.size() > 512 || !absl::WebSafeBase64Unescape(token, &text)) return bad;
  const std::vector<std::string> parts = absl::StrSplit(text, absl::MaxSplits('|', 2));
  PageCursor cursor;
  if (parts.size() != 3 || !absl::SimpleAtoi(parts[1], &cursor.position)) return bad;
  cursor.id = parts[2];
  if (parts[0] != Seal(absl::StrCat(parts[1], "|", parts[2]), scope)) return bad;
  return cursor;
}

}  // namespace pactory
