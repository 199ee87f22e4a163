// Uploads of files as blobs, resumed after a cut or a restart of either side. Used by the agent and the CLI.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "client/blob_transfer.h"

namespace pactory {

/// A file and its content's identity.
struct FileContent {
  std::string path;
  /// 64 lower-case hex digits.
  std::string sha256;
  int64_t size_bytes = 0;
};

/// Reads a file once for its digest and size. NOT_FOUND or INVALID_ARGUMENT (not a regular file) name the path.
absl::StatusOr<FileContent> ExamineFile(const std::string& path);

/// Returns the upload id that every upload of this content by any process has, so that a killed one is resumed.
std::string StableUploadId(const std::string& sha256);

/// Uploads a file and returns `blobs/{sha256}`. Errors: CANCELLED; UNAVAILABLE once the patience is over;
/// INVALID_ARGUMENT where the file changed meanwhile; whatever the server says that time can't heal.
absl::StatusOr<std::string> UploadBlob(const BlobTransfer& transfer, const FileContent& file,
                                       const std::string& upload_id);

}  // namespace pactory
