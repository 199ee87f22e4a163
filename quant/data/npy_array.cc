#include "quant/data/npy_array.h"

#include <ATen/ATen.h>

#include <cstring>
#include <vector>

#include "base/status_macros.h"

namespace pactory::quant {

at::ScalarType NpyArray::type() const {
  const auto of_size = [this](at::ScalarType two, at::ScalarType four, at::ScalarType eight) {
    return header.item_size == 2 ? two : header.item_size == 4 ? four : eight;
  };
  switch (header.kind) {
    case NpyKind::kFloat: return of_size(at::kHalf, at::kFloat, at::kDouble);
    case NpyKind::kSigned: return header.item_size == 1 ? at::kChar : of_size(at::kShort, at::kInt, at::kLong);
    case NpyKind::kUnsigned: return header.item_size == 1 ? at::kByte : of_size(at::kUInt16, at::kUInt32, at::kUInt64);
    case NpyKind::kBool: return at::kBool;
  }
  return at::kFloat;
}

int64_t NpyArray::row_bytes() const {
  int64_t bytes = header.item_size;
  for (size_t axis = 1; axis < header.shape.size(); ++axis) bytes *= header.shape[axis];
  return bytes;
}

at::Tensor NpyArray::Rows(const int64_t* indices, int64_t count) const {
  std::vector<int64_t> sizes = header.shape;
  sizes[0] = count;
  at::Tensor rows = at::empty(sizes, at::TensorOptions().dtype(type()));
  char* target = static_cast<char*>(rows.data_ptr());
  const int64_t bytes = row_bytes();
  // Copied rather than viewed: members of a zip archive are not aligned for their type.
  for (int64_t index = 0; index < count && bytes > 0; ++index) {
    std::memcpy(target + index * bytes, data.data() + indices[index] * bytes, bytes);
  }
  return rows;
}

absl::StatusOr<NpyArray> ParseNpy(absl::string_view bytes) {
  NpyArray array;
  PACTORY_ASSIGN_OR_RETURN(array.header, ParseNpyHeader(bytes));
  PACTORY_RETURN_IF_ERROR(CheckNpySize(array.header, static_cast<int64_t>(bytes.size())));
  array.data = bytes.substr(array.header.data_offset);
  return array;
}

}  // namespace pactory::quant
