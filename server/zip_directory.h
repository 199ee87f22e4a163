// The directory of a zip file and the first bytes of its entries, read by ranges. Used by InspectNpz. Stateless.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/dataset_inspection.h"

namespace pactory {

struct ZipEntry {
  std::string name;
  /// 0: stored, 8: deflated.
  int method = 0;
  int64_t compressed_size = 0;
  int64_t uncompressed_size = 0;
  int64_t header_offset = 0;
};

/// Returns the entries of a zip file (zip64 too). INVALID_ARGUMENT where it is none, is cut off, or its directory is
/// larger than 1 MiB.
absl::StatusOr<std::vector<ZipEntry>> ReadZipDirectory(int64_t size_bytes, const ReadExactlyFn& read);

/// Returns the first bytes of an entry's content, at most `size`.
absl::StatusOr<std::string> ReadEntryStart(const ZipEntry& entry, int64_t size, const ReadExactlyFn& read);

}  // namespace pactory
