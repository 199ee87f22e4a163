// Pages of lists, newest first. Used by every store that lists. Stateless.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace pactory {

/// What a List call asks for.
struct PageRequest {
  int size = 50;
  std::string token;
};

/// Limits of a list's page size.
struct PageLimits {
  int default_size = 50;
  int max_size = 1000;
};

/// Returns the page asked for: 0 becomes the default, more than the maximum the maximum; INVALID_ARGUMENT for less than
/// 0.
absl::StatusOr<PageRequest> MakePageRequest(int32_t page_size, absl::string_view page_token, const PageLimits& limits);

/// The last row of a page: the next page starts behind it.
struct PageCursor {
  /// Microseconds since 1970, or a sequence number.
  int64_t position = 0;
  std::string id;
};

/// Returns the cursor of a first page in a list that runs from new to old: behind it comes every row.
PageCursor BeforeTheNewest();

/// Returns the token of a cursor. `scope` is what the list was asked for (parent, filter): the token is good for that
/// only.
std::string EncodePageToken(const PageCursor& cursor, absl::string_view scope);

/// Returns the cursor of a token; INVALID_ARGUMENT naming `page_token` where it is none, or one of another scope.
absl::StatusOr<PageCursor> DecodePageToken(absl::string_view token, absl::string_view scope);

}  // namespace pactory
