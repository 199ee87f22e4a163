// Downloads of blobs to files, resumed after a cut or a restart, and verified. Used by the agent's cache and the CLI.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "client/blob_transfer.h"

namespace pactory {

/// Downloads `blobs/{sha256}` to `path`, by way of `path` + ".part", whose bytes a later call continues. The file
/// appears under its name only once its digest is right. Errors: CANCELLED; UNAVAILABLE once the patience is over;
/// DATA_LOSS where the digest is wrong twice; what the server says that time can't heal; INTERNAL where the file can't
/// be written.
absl::Status DownloadBlob(const BlobTransfer& transfer, absl::string_view blob, const std::string& path);

}  // namespace pactory
