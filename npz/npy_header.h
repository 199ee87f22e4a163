// The header of a NumPy .npy array. Used by those who read .npz files. Stateless.
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

/// What kind of number an element is.
enum class NpyKind { kFloat, kSigned, kUnsigned, kBool };

/// An array's header. The elements are little endian, in C order.
struct NpyHeader {
  NpyKind kind = NpyKind::kFloat;
  /// Bytes of one element: 1, 2, 4 or 8.
  int64_t item_size = 0;
  /// As the file says it, like `<f4`.
  std::string dtype;
  std::vector<int64_t> shape;
  /// Where the data starts.
  int64_t data_offset = 0;
};

/// "[2,3]", for messages.
std::string ShapeText(const std::vector<int64_t>& shape);

/// Parses the start of a file (versions 1 to 3). INVALID_ARGUMENT where it is damaged, big endian, in Fortran order or of a type
/// that is no number.
absl::StatusOr<NpyHeader> ParseNpyHeader(absl::string_view start);

/// INVALID_ARGUMENT where a file of `file_size` bytes does not hold just what its header promises.
absl::Status CheckNpySize(const NpyHeader& header, int64_t file_size);

}  // namespace pactory
