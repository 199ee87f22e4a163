// The header of a NumPy .npy array. Used by InspectNpz. Stateless.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace pactory {

/// Bytes at the start of a file within which a header must end.
inline constexpr int64_t kMaxNpyHeader = 64 << 10;

struct NpyHeader {
  /// Like `<f4`.
  std::string dtype;
  std::vector<int64_t> shape;
  /// Where the data starts.
  int64_t data_offset = 0;

  bool IsInteger() const;
  bool IsNumber() const;
  /// Bytes of one element; 0 for what is no number.
  int64_t ItemSize() const;
};

/// Parses the start of the file of array `name`; INVALID_ARGUMENT where it is no .npy of version 1 to 3.
absl::StatusOr<NpyHeader> ParseNpyHeader(absl::string_view name, absl::string_view start);

/// INVALID_ARGUMENT where a file of `file_size` bytes does not hold what its header promises.
absl::Status CheckNpySize(absl::string_view name, const NpyHeader& header, int64_t file_size);

}  // namespace pactory
