// Where the members of a zip archive lie, so that stored ones are read in place. Used by the .npz reader. Stateless.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace pactory::quant {

/// One member of an archive.
struct ZipMember {
  std::string name;
  /// 0: stored; 8: deflated.
  int method = 0;
  uint64_t size = 0;
  /// The member's bytes in the archive, compressed as `method` says.
  absl::string_view data;
};

/// Reads the central directory, ZIP64 included. INVALID_ARGUMENT where the archive is damaged, cut short, encrypted or
/// split.
absl::StatusOr<std::vector<ZipMember>> ReadZipDirectory(absl::string_view archive);

/// Returns a deflated member's content; INVALID_ARGUMENT where it is damaged or is not `size` bytes long.
absl::StatusOr<std::string> InflateMember(absl::string_view archive, const ZipMember& member);

}  // namespace pactory::quant
