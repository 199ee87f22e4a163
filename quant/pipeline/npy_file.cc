#include "quant/pipeline/npy_file.h"

#include <ATen/ATen.h>

#include <cerrno>
#include <filesystem>
#include <map>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "quant/pipeline/write_file.h"

namespace pactory::quant {
namespace {

constexpr absl::string_view kMagic = "\x93NUMPY";
// Format 1.0: magic, version, 2-byte header length; numpy aligns the data to 64 bytes.
constexpr size_t kPrefix = 10;
constexpr size_t kAlignment = 64;
constexpr size_t kMaxHeader = 65535;

const std::map<at::ScalarType, const char*> kNpyTypes = {
    {at::kHalf, "<f2"}, {at::kFloat, "<f4"},  {at::kDouble, "<f8"}, {at::kChar, "|i1"},   {at::kShort, "<i2"},  {at::kInt, "<i4"},
    {at::kLong, "<i8"}, {at::kByte, "|u1"}, {at::kUInt16, "<u2"}, {at::kUInt32, "<u4"}, {at::kUInt64, "<u8"}, {at::kBool, "|b1"},
};

absl::Status Bad(const std::string& path, absl::string_view problem) {
  return absl::InvalidArgumentError(absl::StrCat("must be a .npy file of float32 in C order, ", problem, ": path=", path));
}

// The dimensions in "(3, 4, )" after 'shape'; false where they are none.
bool ParseShape(absl::string_view header, std::vector<int64_t>& shape, int64_t& elements) {
  const size_t open = header.find('(');
  const size_t close = header.find(')', open);
  if (open == absl::string_view::npos || close == absl::string_view::npos) return false;
  elements = 1;
  for (absl::string_view part : absl::StrSplit(header.substr(open + 1, close - open - 1), ',', absl::SkipWhitespace())) {
    int64_t dim;
    if (!absl::SimpleAtoi(part, &dim) || dim < 0 || __builtin_mul_overflow(elements, dim, &elements)) return false;
    shape.push_back(dim);
  }
  return true;
}

}  // namespace

NpyWriter::NpyWriter(std::string path, std::ofstream file, at::ScalarType type, int64_t elements)
    : path_(std::move(path)), file_(std::move(file)), type_(type), missing_(elements) {}

absl::StatusOr<NpyWriter> NpyWriter::Create(const std::string& path, const std::vector<int64_t>& shape, at::ScalarType type) {
  const auto descr = kNpyTypes.find(type);
  if (descr == kNpyTypes.end()) {
    return absl::UnimplementedError(absl::StrCat("NumPy has no such type: path=", path, " type=", at::toString(type)));
  }
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  if (!file) return WriteError(path, errno);
  std::string header = absl::StrCat("{'descr': '", descr->second, "', 'fortran_order': False, 'shape': (",
                                    absl::StrJoin(shape, ", "), shape.size() == 1 ? ",), }" : "), }");
  const size_t unaligned = (kPrefix + header.size() + 1) % kAlignment;
  header.append(unaligned == 0 ? 0 : kAlignment - unaligned, ' ');
  header.push_back('\n');
  file << kMagic << '\x01' << '\x00' << static_cast<char>(header.size() & 0xff) << static_cast<char>(header.size() >> 8)
       << header;
  int64_t elements = 1;
  for (const int64_t dim : shape) elements *= dim;
  return NpyWriter(path, std::move(file), type, elements);
}

absl::Status NpyWriter::Append(const at::Tensor& rows) {
  const at::Tensor values = rows.to(at::kCPU, type_).contiguous();
  file_.write(static_cast<const char*>(values.const_data_ptr()), static_cast<std::streamsize>(values.nbytes()));
  missing_ -= values.numel();
  if (!file_) return WriteError(path_, errno);
  return absl::OkStatus();
}

absl::Status NpyWriter::Finish() {
  file_.close();
  if (!file_) return WriteError(path_, errno);
  if (missing_ != 0) {
    return absl::FailedPreconditionError(absl::StrCat("array must be written whole: path=", path_, " missing=", missing_));
  }
  return absl::OkStatus();
}

absl::StatusOr<at::Tensor> ReadNpy(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string prefix(kPrefix, '\0');
  if (!file || !file.read(prefix.data(), kPrefix) || prefix.compare(0, kMagic.size(), kMagic.data(), kMagic.size()) != 0) {
    return Bad(path, "it is none");
  }
  if (prefix[6] != 1) return Bad(path, "its format is not 1.0");
  const size_t size = static_cast<unsigned char>(prefix[8]) + 256u * static_cast<unsigned char>(prefix[9]);
  std::string header(std::min(size, kMaxHeader), '\0');
  if (!file.read(header.data(), static_cast<std::streamsize>(header.size()))) return Bad(path, "it ends in its header");
  if (header.find("'<f4'") == std::string::npos) return Bad(path, "its type is another");
  if (header.find("'fortran_order': False") == std::string::npos) return Bad(path, "its order is another");
  std::vector<int64_t> shape;
  int64_t elements = 0;
  if (!ParseShape(header, shape, elements)) return Bad(path, "its shape can't be read");
  std::error_code error;
  const uintmax_t bytes = std::filesystem::file_size(path, error);
  if (error || bytes < kPrefix + header.size() ||
      (bytes - kPrefix - header.size()) / sizeof(float) != static_cast<uintmax_t>(elements)) {
    return Bad(path, "its length does not fit its shape");
  }
  at::Tensor array = at::empty(shape, at::kFloat);
  if (!file.read(static_cast<char*>(array.data_ptr()), static_cast<std::streamsize>(array.nbytes()))) {
    return Bad(path, "it ends too early");
  }
  return array;
}

}  // namespace pactory::quant
