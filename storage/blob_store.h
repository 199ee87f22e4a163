// Content-addressed blobs of tenants: uploads that resume, reads of ranges, and removal of what nothing refers to.
// Used by BlobService and by the inspections. Thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/blob_chunks.h"
#include "storage/database.h"
#include "storage/lease_ref.h"

namespace pactory {

/// A whole blob.
struct BlobInfo {
  std::string id;
  std::string sha256;
  int64_t size_bytes = 0;
};

/// What a client says of the blob it uploads.
struct UploadSpec {
  std::string tenant_id;
  /// UUID of the client.
  std::string upload_id;
  std::string sha256;
  int64_t size_bytes = 0;
  std::optional<LeaseRef> lease;
};

/// How far an upload is.
struct UploadState {
  std::string blob_id;
  int64_t committed_size = 0;
  bool complete = false;
};

/// Blobs and uploads, over BlobChunks.
class BlobStore {
 public:
  BlobStore(Database* database, BlobChunks* chunks) : database_(*database), chunks_(*chunks) {}

  /// Starts an upload or finds it again. Where the tenant has the blob already, the state is complete; not where it is known to be
  /// damaged: the upload then mends it.
  /// INVALID_ARGUMENT where the upload was started with another digest or size.
  absl::StatusOr<UploadState> BeginUpload(const UploadSpec& spec);

  /// Returns how far an upload is; NOT_FOUND before its first byte.
  absl::StatusOr<UploadState> GetUpload(const std::string& tenant_id, const std::string& upload_id);

  /// Stores one chunk durably; see BlobChunks::Append.
  absl::Status AppendChunk(const BlobChunks::Place& place, absl::string_view data) {
    return chunks_.Append(place, data);
  }

  /// Makes the blob whole. `digest` is what was computed while the bytes came, "" where that was not from the first
  /// byte on: then it is computed from the stored chunks. INVALID_ARGUMENT with reason `DIGEST_MISMATCH` where it is
  /// not the one promised; the upload is then gone.
  absl::Status FinishUpload(const UploadSpec& spec, const std::string& digest);

  /// Finds a whole blob of the tenant by its digest; NOT_FOUND, the same for one that belongs to another tenant.
  absl::StatusOr<BlobInfo> Find(const std::string& tenant_id, const std::string& sha256);

  /// Returns at most `size` bytes from `offset`, fewer where the chunk or the blob ends: never more than
  /// kBlobChunkSize. DATA_LOSS with reason `CHUNK_DAMAGED` where a stored checksum is wrong; the blob is marked as damaged then.
  absl::StatusOr<std::string> ReadSome(const BlobInfo& blob, int64_t offset, int64_t size);

  /// Returns exactly `size` bytes from `offset`. OUT_OF_RANGE where the blob is shorter.
  absl::StatusOr<std::string> ReadExactly(const BlobInfo& blob, int64_t offset, int64_t size);

  /// Removes uploads and blobs that nothing has used for `age` and nothing refers to; returns how many blobs went.
  absl::StatusOr<int> CollectGarbage(absl::Duration age);

  /// Removes checkpoints that were replaced, or whose job ended, longer than `age` ago; returns how many went.
  absl::StatusOr<int> CollectCheckpoints(absl::Duration age);

 private:
  absl::StatusOr<std::string> ReadChunk(const BlobInfo& blob, int64_t index);
  absl::StatusOr<int> RemoveChosen(const char* chosen, absl::Duration age);
  absl::StatusOr<std::string> DigestOfChunks(const std::string& blob_id, int64_t size_bytes);

  Database& database_;
  BlobChunks& chunks_;
};

/// Returns NOT_FOUND for a blob that the tenant does not have.
absl::Status BlobNotFound(absl::string_view sha256);

}  // namespace pactory
