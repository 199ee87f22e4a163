// What uploads and downloads of blobs share: the lease, how patient they are, whom they tell. Used by the agent and the
// CLI.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "client/cancellation.h"
#include "pactory/v1/blob.grpc.pb.h"

namespace pactory {

/// Circumstances of a transfer. The references must outlive it.
struct BlobTransfer {
  v1::BlobService::StubInterface& stub;
  Cancellation& cancellation;
  std::string token = {};
  /// Set by workers: the lease under which they read and write.
  std::optional<v1::LeaseToken> lease = std::nullopt;
  /// How long transient errors are borne without one more byte.
  absl::Duration patience = absl::InfiniteDuration();
  /// Told how many bytes are done, of how many. May be empty.
  std::function<void(int64_t done, int64_t total)> on_progress = {};
};

}  // namespace pactory
