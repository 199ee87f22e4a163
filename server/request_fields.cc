#include "server/request_fields.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/ids.h"
#include "base/sha256.h"
#include "base/status_macros.h"

namespace pactory {

absl::StatusOr<std::string> ParseName(absl::string_view field, absl::string_view collection, absl::string_view name) {
  if (name.empty()) return InvalidField(field, absl::StrCat("must be set, to ", collection, "/{id}"));
  const std::string id = IdOf(collection, name);
  if (!IsUuid(id))
    return InvalidField(
        field, absl::StrCat("must look like ", collection, "/{id}, where the id is a UUID: ", name.substr(0, 100)));
  return absl::AsciiStrToLower(id);
}

absl::StatusOr<std::string> ParseBlobName(absl::string_view field, absl::string_view name) {
  if (name.empty()) return InvalidField(field, "must be set, to blobs/{sha256}");
  const std::string sha256 = IdOf("blobs", name);
  if (!IsSha256Hex(sha256)) {
    return InvalidField(
        field, absl::StrCat("must look like blobs/{sha256}, with 64 lower-case hex digits: ", name.substr(0, 100)));
  }
  return sha256;
}

absl::Status CheckText(absl::string_view field, absl::string_view text, int max_characters) {
  const auto characters = std::count_if(text.begin(), text.end(), [](unsigned char c) { return (c & 0xc0) != 0x80; });
  if (characters > max_characters) {
    return InvalidField(field, absl::StrCat("must have at most ", max_characters, " characters: ", characters));
  }
  const bool clean = std::none_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; });
  return clean ? absl::OkStatus() : InvalidField(field, "must not hold control characters");
}

absl::StatusOr<RequestKey> MakeRequestKey(absl::string_view request_id, const google::protobuf::MessageLite& content) {
  RequestKey key;
  if (request_id.empty()) return key;
  if (!IsUuid(request_id))
    return InvalidField("request_id", absl::StrCat("must be a UUID: ", request_id.substr(0, 100)));
  key.id = absl::AsciiStrToLower(request_id);
  key.sha256 = Sha256Hex(content.SerializeAsString());
  return key;
}

absl::StatusOr<LeaseRef> ParseLease(const v1::LeaseToken& token) {
  LeaseRef lease;
  PACTORY_ASSIGN_OR_RETURN(lease.job_id, ParseName("lease.job", "jobs", token.job()));
  if (token.fence() <= 0)
    return InvalidField("lease.fence", absl::StrCat("must be the number of a lease: ", token.fence()));
  lease.fence = token.fence();
  return lease;
}

}  // namespace pactory
