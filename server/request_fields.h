// Checks of the fields that many requests have: resource names, display names, request ids, leases. Used by the
// services. Stateless.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/message_lite.h"
#include "pactory/v1/blob.pb.h"
#include "storage/lease_ref.h"
#include "storage/request_key.h"

namespace pactory {

/// Longest `display_name`, in characters (AIP-148).
inline constexpr int kMaxDisplayName = 63;

/// Returns the id of `models/{id}` and the like, in lower case; INVALID_ARGUMENT naming `field` where `name` is not of
/// the collection or its id is no UUID.
absl::StatusOr<std::string> ParseName(absl::string_view field, absl::string_view collection, absl::string_view name);

/// Returns the digest of `blobs/{sha256}`; INVALID_ARGUMENT naming `field`.
absl::StatusOr<std::string> ParseBlobName(absl::string_view field, absl::string_view name);

/// INVALID_ARGUMENT naming `field` where `text` is longer than `max_characters` or holds control characters.
absl::Status CheckText(absl::string_view field, absl::string_view text, int max_characters);

/// Returns the key of a create call: `content` is the request with what only the server fills in cleared, and without
/// the request id. INVALID_ARGUMENT where `request_id` is neither empty nor a UUID.
absl::StatusOr<RequestKey> MakeRequestKey(absl::string_view request_id, const google::protobuf::MessageLite& content);

/// Returns the lease that a worker's call names; INVALID_ARGUMENT naming `lease` where it is incomplete.
absl::StatusOr<LeaseRef> ParseLease(const v1::LeaseToken& token);

}  // namespace pactory
