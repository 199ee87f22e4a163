// The members of a zip archive, read by ranges, so that an archive in a database or in mapped memory need not be copied. Used by
// the server, which looks at headers, and by the trainer, which reads the arrays. Stateless.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace pactory {

/// A file of which parts can be read.
struct RangedFile {
  int64_t size = 0;
  /// Returns exactly `size` bytes from `offset`; OUT_OF_RANGE beyond the end.
  std::function<absl::StatusOr<std::string>(int64_t offset, int64_t size)> read;
};

/// One member of an archive. Offset and stored size lie within the archive.
struct ZipMember {
  /// UTF-8.
  std::string name;
  /// 0: stored; 8: deflated.
  int method = 0;
  /// Bytes of the content, as the directory claims.
  int64_t size = 0;
  /// Bytes in the archive.
  int64_t stored_size = 0;
  /// CRC-32 of the content.
  uint32_t crc = 0;
  int64_t header_offset = 0;
};

/// Reads the central directory, ZIP64 included. INVALID_ARGUMENT where the archive is damaged, cut short, encrypted, or has a
/// directory larger than 1 MiB.
absl::StatusOr<std::vector<ZipMember>> ReadZipDirectory(const RangedFile& archive);

/// Returns where a member's bytes start. INVALID_ARGUMENT where they don't lie in the archive.
absl::StatusOr<int64_t> FindContent(const RangedFile& archive, const ZipMember& member);

/// Returns the first bytes of a member's content, at most `limit`. INVALID_ARGUMENT where it is damaged.
absl::StatusOr<std::string> ReadStart(const RangedFile& archive, const ZipMember& member, int64_t limit);

/// Returns the content of a deflated member, given its bytes in the archive. INVALID_ARGUMENT where it is damaged or not of the size
/// or sum that the directory claims.
absl::StatusOr<std::string> Inflate(const ZipMember& member, absl::string_view stored);

}  // namespace pactory
