// In whose name a blob is read or written: users in their own, workers in that of the job they hold. Used by the blob
// streams. Stateless.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "pactory/v1/blob.pb.h"
#include "server/authentication.h"
#include "storage/lease_ref.h"
#include "storage/lease_store.h"

namespace pactory {

/// Whose blobs a call is about.
struct BlobOwner {
  std::string tenant_id;
  /// Set for workers.
  std::optional<LeaseRef> lease;
};

/// Returns the owner. INVALID_ARGUMENT for a worker without a lease or a user with one; ABORTED with reason
/// `LEASE_LOST`.
absl::StatusOr<BlobOwner> FindBlobOwner(const Caller& caller, const std::optional<v1::LeaseToken>& token,
                                        LeaseStore& leases);

}  // namespace pactory
