#include "npz/npy_header.h"

#include <limits>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "base/utf8.h"

namespace pactory {
namespace {

constexpr absl::string_view kMagic("\x93NUMPY", 6);
constexpr size_t kMaxRank = 32;

// The text after `'key':` in the header, which is a Python dict like {'descr': '<f4', 'fortran_order': False, 'shape': (8, 3), }.
std::optional<absl::string_view> Field(absl::string_view dict, absl::string_view key) {
  for (const char* quote : {"'", "\""}) {
    const std::string quoted = absl::StrCat(quote, key, quote);
    const size_t found = dict.find(quoted);
    if (found == absl::string_view::npos) continue;
    absl::string_view rest = absl::StripLeadingAsciiWhitespace(dict.substr(found + quoted.size()));
    if (rest.empty() || rest[0] != ':') continue;
    return absl::StripLeadingAsciiWhitespace(rest.substr(1));
  }
  return std::nullopt;
}

absl::Status ReadType(absl::string_view field, NpyHeader& header) {
  constexpr size_t kLongestQuoted = 16;
  if (field.size() > 1) header.dtype = std::string(field.substr(1, field.find(field[0], 1) - 1).substr(0, kLongestQuoted));
  const std::string& dtype = header.dtype;
  if (!IsUtf8(dtype)) return absl::InvalidArgumentError("array's type must be UTF-8");
  static constexpr struct {
    const char* code;
    NpyKind kind;
    int64_t item_size;
  } kTypes[] = {
      {"f2", NpyKind::kFloat, 2},    {"f4", NpyKind::kFloat, 4},    {"f8", NpyKind::kFloat, 8},    {"i1", NpyKind::kSigned, 1},
      {"i2", NpyKind::kSigned, 2},   {"i4", NpyKind::kSigned, 4},   {"i8", NpyKind::kSigned, 8},   {"u1", NpyKind::kUnsigned, 1},
      {"u2", NpyKind::kUnsigned, 2}, {"u4", NpyKind::kUnsigned, 4}, {"u8", NpyKind::kUnsigned, 8}, {"b1", NpyKind::kBool, 1},
  };
  for (const auto& type : kTypes) {
    if (dtype.empty() || dtype.substr(1) != type.code) continue;
    if (dtype[0] == '>' && type.item_size > 1) {
      return absl::InvalidArgumentError(absl::StrCat("array must be little endian: dtype=", dtype));
    }
    header.kind = type.kind;
    header.item_size = type.item_size;
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("array must hold numbers: dtype=", dtype));
}

absl::StatusOr<std::vector<int64_t>> ReadShape(absl::string_view field) {
  const size_t close = field.find(')');
  if (!absl::StartsWith(field, "(") || close == absl::string_view::npos) {
    return absl::InvalidArgumentError("array's header must give a shape");
  }
  std::vector<int64_t> shape;
  for (const absl::string_view part : absl::StrSplit(field.substr(1, close - 1), ',', absl::SkipWhitespace())) {
    int64_t dim = 0;
    if (!absl::SimpleAtoi(part, &dim) || dim < 0) {
      return absl::InvalidArgumentError("array's shape must be whole numbers, none below 0");
    }
    if (shape.size() == kMaxRank) return absl::InvalidArgumentError("array's shape must have at most 32 dimensions");
    shape.push_back(dim);
  }
  return shape;
}

}  // namespace

std::string ShapeText(const std::vector<int64_t>& shape) { return absl::StrCat("[", absl::StrJoin(shape, ","), "]"); }

absl::StatusOr<NpyHeader> ParseNpyHeader(absl::string_view start) {
  if (!absl::StartsWith(start, kMagic)) return absl::InvalidArgumentError("array must be in .npy format, with NumPy's mark at its start");
  // Version 1 has a length of 2 bytes, later ones of 4.
  const size_t version = start.size() > 6 ? static_cast<unsigned char>(start[6]) : 0;
  if (version < 1 || version > 3) {
    return absl::InvalidArgumentError(absl::StrCat("array must be of .npy version 1, 2 or 3: version=", version));
  }
  const size_t width = version == 1 ? 2 : 4;
  const size_t text = 8 + width;
  size_t length = 0;
  for (size_t index = 0; index < width && 8 + index < start.size(); ++index) {
    length |= static_cast<size_t>(static_cast<unsigned char>(start[8 + index])) << (8 * index);
  }
  if (start.size() < text || length > start.size() - text) return absl::InvalidArgumentError("array's header must be whole");
  const absl::string_view dict = start.substr(text, length);
  const auto descr = Field(dict, "descr");
  const auto order = Field(dict, "fortran_order");
  const auto shape = Field(dict, "shape");
  if (!descr || !order || !shape) return absl::InvalidArgumentError("array's header must give descr, order and shape");
  if (absl::StartsWith(*order, "True")) {
    return absl::InvalidArgumentError("array must be in C order; save it with numpy.ascontiguousarray");
  }
  NpyHeader header;
  PACTORY_RETURN_IF_ERROR(ReadType(*descr, header));
  PACTORY_ASSIGN_OR_RETURN(header.shape, ReadShape(*shape));
  header.data_offset = static_cast<int64_t>(text + length);
  return header;
}

absl::Status CheckNpySize(const NpyHeader& header, int64_t file_size) {
  int64_t promised = header.item_size;
  for (const int64_t dim : header.shape) {
    if (dim != 0 && promised > std::numeric_limits<int64_t>::max() / dim) {
      return absl::InvalidArgumentError("array's shape must fit its data; it is larger than any file");
    }
    promised *= dim;
  }
  const int64_t held = file_size - header.data_offset;
  if (held == promised) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("array's data must fit its shape: bytes=", held, " wanted=", promised));
}

}  // namespace pactory
