#include "server/npy_header.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "server/dataset_inspection.h"

namespace pactory {
namespace {

constexpr absl::string_view kMagic("\x93NUMPY", 6);
constexpr size_t kMaxRank = 32;
constexpr int64_t kMaxNpyElements = int64_t{1} << 40;

absl::Status BadArray(absl::string_view name, absl::string_view problem) {
  return BadData(absl::StrCat("must hold `", name, "` as a .npy array: ", problem));
}

// Returns what follows `'key':` in the header's Python dict, which NumPy writes in one form only.
absl::string_view ValueOf(absl::string_view dict, absl::string_view key) {
  const std::string quoted = absl::StrCat("'", key, "':");
  const size_t at = dict.find(quoted);
  if (at == absl::string_view::npos) return "";
  return absl::StripLeadingAsciiWhitespace(dict.substr(at + quoted.size()));
}

}  // namespace

bool NpyHeader::IsInteger() const { return ItemSize() > 0 && (dtype[1] == 'i' || dtype[1] == 'u'); }

bool NpyHeader::IsNumber() const { return ItemSize() > 0; }

int64_t NpyHeader::ItemSize() const {
  if (dtype.size() != 3 || !absl::StrContains("<|=", dtype.substr(0, 1))) return 0;
  const int64_t size = dtype[2] - '0';
  const bool power = size == 1 || size == 2 || size == 4 || size == 8;
  const bool known = dtype[1] == 'i' || dtype[1] == 'u' || (dtype[1] == 'f' && size >= 2);
  return power && known ? size : 0;
}

absl::StatusOr<NpyHeader> ParseNpyHeader(absl::string_view name, absl::string_view start) {
  if (start.size() < 10 || !absl::StartsWith(start, kMagic))
    return BadArray(name, "it does not start with NumPy's mark");
  const int version = static_cast<unsigned char>(start[6]);
  if (version < 1 || version > 3) return BadArray(name, absl::StrCat("its version must be 1 to 3: ", version));
  const size_t length_size = version == 1 ? 2 : 4;
  size_t length = 0;
  if (start.size() < 8 + length_size) return BadArray(name, "its header is cut off");
  for (size_t i = 0; i < length_size; ++i)
    length |= static_cast<size_t>(static_cast<unsigned char>(start[8 + i])) << (8 * i);
  if (length > start.size() - 8 - length_size) return BadArray(name, "its header is cut off");
  const absl::string_view dict = start.substr(8 + length_size, length);

  NpyHeader header;
  header.data_offset = static_cast<int64_t>(8 + length_size + length);
  const absl::string_view descr = ValueOf(dict, "descr");
  if (!absl::StartsWith(descr, "'")) return BadArray(name, "its elements must be plain numbers");
  header.dtype = std::string(descr.substr(1, descr.find('\'', 1) - 1).substr(0, 16));
  const absl::string_view shape = ValueOf(dict, "shape");
  const size_t end = shape.find(')');
  if (!absl::StartsWith(shape, "(") || end == absl::string_view::npos) return BadArray(name, "its shape can't be read");
  for (const absl::string_view part : absl::StrSplit(shape.substr(1, end - 1), ',', absl::SkipWhitespace())) {
    int64_t dim = 0;
    if (!absl::SimpleAtoi(part, &dim) || dim < 0 || header.shape.size() >= kMaxRank)
      return BadArray(name, "its shape can't be");
    header.shape.push_back(dim);
  }
  return header;
}

absl::Status CheckNpySize(absl::string_view name, const NpyHeader& header, int64_t file_size) {
  int64_t elements = 1;
  for (const int64_t dim : header.shape) {
    if (dim > kMaxNpyElements || (dim > 0 && elements > kMaxNpyElements / dim))
      return BadArray(name, "its shape can't be");
    elements *= dim;
  }
  const int64_t promised = header.data_offset + elements * header.ItemSize();
  if (header.ItemSize() == 0 || promised == file_size) return absl::OkStatus();
  return BadArray(name, absl::StrCat("its size must follow from its shape: bytes=", file_size, " wanted=", promised));
}

}  // namespace pactory
