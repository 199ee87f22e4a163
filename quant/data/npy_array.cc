#include "quant/data/npy_array.h"

#include <ATen/ATen.h>

#include <cstring>
#include <limits>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"

namespace pactory::quant {
namespace {

// The text after `'key':` in the header, which is a Python dict like
// {'descr': '<f4', 'fortran_order': False, 'shape': (8, 3), }.
std::optional<absl::string_view> Field(absl::string_view header, absl::string_view key) {
  for (const char quote : {'\'', '"'}) {
    const std::string wanted = absl::StrCat(std::string(1, quote), key, std::string(1, quote));
    const size_t found = header.find(wanted);
    if (found == absl::string_view::npos) continue;
    absl::string_view rest = absl::StripLeadingAsciiWhitespace(header.substr(found + wanted.size()));
    if (rest.empty() || rest[0] != ':') continue;
    return absl::StripLeadingAsciiWhitespace(rest.substr(1));
  }
  return std::nullopt;
}

absl::StatusOr<at::ScalarType> TypeOf(absl::string_view field) {
  const std::string descr(field.size() > 1 ? field.substr(1, field.find(field[0], 1) - 1) : "");
  const std::string code = descr.size() > 1 ? descr.substr(1) : "";
  if (!descr.empty() && descr[0] == '>' && !code.empty() && code.back() != '1') {
    return absl::InvalidArgumentError(absl::StrCat("array must be little endian: dtype=", descr));
  }
  static constexpr std::pair<const char*, at::ScalarType> kTypes[] = {
      {"f4", at::kFloat}, {"f8", at::kDouble}, {"f2", at::kHalf},  {"u1", at::kByte},    {"i1", at::kChar},
      {"i2", at::kShort}, {"i4", at::kInt},    {"i8", at::kLong},  {"u2", at::kUInt16},  {"u4", at::kUInt32},
      {"u8", at::kUInt64}, {"b1", at::kBool},
  };
  for (const auto& [name, type] : kTypes) {
    if (code == name) return type;
  }
  return absl::InvalidArgumentError(absl::StrCat("array must hold numbers: dtype=", descr));
}

absl::StatusOr<std::vector<int64_t>> ShapeOf(absl::string_view field) {
  const size_t close = field.find(')');
  if (field.empty() || field[0] != '(' || close == absl::string_view::npos) {
    return absl::InvalidArgumentError("array's header must give a shape");
  }
  std::vector<int64_t> shape;
  for (absl::string_view part : absl::StrSplit(field.substr(1, close - 1), ',')) {
    part = absl::StripAsciiWhitespace(part);
    if (part.empty()) continue;
    int64_t dim = 0;
    if (!absl::SimpleAtoi(part, &dim) || dim < 0) {
      return absl::InvalidArgumentError(absl::StrCat("array's shape must be whole numbers: dim=", part));
    }
    shape.push_back(dim);
  }
  return shape;
}

}  // namespace

int64_t NpyArray::row_bytes() const {
  int64_t bytes = static_cast<int64_t>(c10::elementSize(type));
  for (size_t axis = 1; axis < shape.size(); ++axis) bytes *= shape[axis];
  return bytes;
}

at::Tensor NpyArray::Rows(const int64_t* indices, int64_t count) const {
  std::vector<int64_t> sizes = shape;
  sizes[0] = count;
  at::Tensor rows = at::empty(sizes, at::TensorOptions().dtype(type));
  char* target = static_cast<char*>(rows.data_ptr());
  const int64_t bytes = row_bytes();
  // Copied rather than viewed: members of a zip archive are not aligned for their type.
  for (int64_t index = 0; index < count && bytes > 0; ++index) {
    std::memcpy(target + index * bytes, data.data() + indices[index] * bytes, bytes);
  }
  return rows;
}

absl::StatusOr<NpyArray> ParseNpy(absl::string_view bytes) {
  if (bytes.size() < 12 || bytes.substr(0, 6) != absl::string_view("\x93NUMPY", 6)) {
    return absl::InvalidArgumentError("array must be in .npy format");
  }
  // Version 1 has a length of 2 bytes, later ones of 4.
  const int width = bytes[6] == 1 ? 2 : 4;
  uint64_t length = 0;
  for (int index = width - 1; index >= 0; --index) length = length << 8 | static_cast<uint8_t>(bytes[8 + index]);
  const uint64_t start = 8 + width;
  if (length > bytes.size() - start) return absl::InvalidArgumentError("array's header must be whole");
  const absl::string_view header = bytes.substr(start, length);
  const auto descr = Field(header, "descr");
  const auto order = Field(header, "fortran_order");
  const auto shape = Field(header, "shape");
  if (!descr || !order || !shape) return absl::InvalidArgumentError("array's header must give descr, order and shape");
  if (order->substr(0, 4) == "True") {
    return absl::InvalidArgumentError("array must be in C order; save it with numpy.ascontiguousarray");
  }
  NpyArray array;
  PACTORY_ASSIGN_OR_RETURN(array.type, TypeOf(*descr));
  PACTORY_ASSIGN_OR_RETURN(array.shape, ShapeOf(*shape));
  array.data = bytes.substr(start + length);
  uint64_t expected = c10::elementSize(array.type);
  for (const int64_t dim : array.shape) {
    if (dim != 0 && expected > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) / dim) {
      return absl::InvalidArgumentError("array's shape must fit its data");
    }
    expected *= dim;
  }
  if (array.data.size() != expected) {
    return absl::InvalidArgumentError(
        absl::StrCat("array's data must fit its shape: bytes=", array.data.size(), " expected=", expected));
  }
  return array;
}

}  // namespace pactory::quant
