// The bytes of blobs, in chunks of 1 MiB, read and written in binary form through libpq. Used by BlobStore.
// Thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "storage/lease_ref.h"
#include "storage/libpq_connection.h"
#include "storage/pool.h"

namespace pactory {

/// Size of every chunk but the last of a blob, in bytes.
inline constexpr int64_t kBlobChunkSize = 1 << 20;

/// Reads and writes chunks; each write is committed when it returns.
class BlobChunks {
 public:
  BlobChunks(std::string connection_string, int pool_size);

  /// Where a chunk goes.
  struct Place {
    std::string tenant_id;
    std::string upload_id;
    /// Offset of the chunk in the blob: a multiple of kBlobChunkSize.
    int64_t offset = 0;
    /// Set where a worker writes: the write is refused once the lease is lost.
    std::optional<LeaseRef> lease;
  };

  /// Stores the chunk and moves the upload's committed size, in one statement. ABORTED with reason `LEASE_LOST`, or
  /// with reason `WRONG_OFFSET` where the upload does not stand at `place.offset`.
  absl::Status Append(const Place& place, absl::string_view data);

  /// Returns one chunk. DATA_LOSS where its checksum is wrong, NOT_FOUND where there is none.
  absl::StatusOr<std::string> Read(const std::string& blob_id, int64_t index);

  PoolStats Stats() const { return pool_.Stats(); }

 private:
  absl::StatusOr<LibpqResult> Exec(absl::string_view name, const char* sql, const std::vector<LibpqParam>& params);

  const std::string connection_string_;
  Pool<LibpqConnection> pool_;
};

}  // namespace pactory
