#include "quant/training/checkpoint.h"

#include <ATen/ATen.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/sha256.h"

namespace pactory::quant {
namespace {

constexpr absl::string_view kCheckpointMagic = "PACTCKP1";
constexpr size_t kDigestSize = 64;
constexpr at::ScalarType kStoredTypes[] = {at::kFloat, at::kDouble, at::kLong};
constexpr int64_t kMaxRank = 16;

template <typename T>
void Append(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

// Takes values off the front of the content; every length is checked against what is left.
class Reader {
 public:
  explicit Reader(absl::string_view content) : rest_(content) {}

  template <typename T>
  std::optional<T> Take() {
    if (rest_.size() < sizeof(T)) return std::nullopt;
    T value;
    std::memcpy(&value, rest_.data(), sizeof(T));
    rest_.remove_prefix(sizeof(T));
    return value;
  }

  std::optional<absl::string_view> TakeBytes(uint64_t size) {
    if (rest_.size() < size) return std::nullopt;
    const absl::string_view bytes = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return bytes;
  }

  bool empty() const { return rest_.empty(); }

 private:
  absl::string_view rest_;
};

std::optional<at::Tensor> TakeTensor(Reader& reader) {
  const auto type = reader.Take<uint8_t>();
  const auto rank = reader.Take<uint8_t>();
  if (!type || !rank || *type >= std::size(kStoredTypes) || *rank > kMaxRank) return std::nullopt;
  std::vector<int64_t> dims;
  const int64_t width = static_cast<int64_t>(c10::elementSize(kStoredTypes[*type]));
  int64_t bytes = width;
  for (int i = 0; i < *rank; ++i) {
    const auto dim = reader.Take<int64_t>();
    if (!dim || *dim < 0 || __builtin_mul_overflow(bytes, *dim, &bytes)) return std::nullopt;
    dims.push_back(*dim);
  }
  const auto data = reader.TakeBytes(static_cast<uint64_t>(bytes));
  if (!data) return std::nullopt;
  at::Tensor tensor = at::empty(dims, at::TensorOptions().dtype(kStoredTypes[*type]));
  // An empty tensor has no memory to copy to.
  if (data->size() > 0) std::memcpy(tensor.data_ptr(), data->data(), data->size());
  return tensor;
}

absl::Status DataLoss(absl::string_view problem) {
  return absl::DataLossError(absl::StrCat("checkpoint must be a whole file of this program: ", problem));
}

absl::Status WriteDurably(absl::string_view content, const std::string& path) {
  const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (file < 0) return absl::ErrnoToStatus(errno, absl::StrCat("checkpoint can't be made: path=", path));
  while (!content.empty()) {
    const ssize_t size = write(file, content.data(), content.size());
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) break;
    content.remove_prefix(static_cast<size_t>(size));
  }
  const bool durable = content.empty() && fsync(file) == 0;
  const int error = errno;
  close(file);
  if (!durable) return absl::ErrnoToStatus(error, absl::StrCat("checkpoint can't be written: path=", path));
  return absl::OkStatus();
}

}  // namespace

std::string SerializeCheckpoint(const Checkpoint& checkpoint) {
  std::string payload;
  Append(payload, static_cast<uint32_t>(checkpoint.size()));
  for (const auto& [name, tensor] : checkpoint) {
    at::Tensor values = tensor.detach().to(at::kCPU).contiguous();
    uint8_t type = 0;
    while (type < std::size(kStoredTypes) && kStoredTypes[type] != values.scalar_type()) ++type;
    if (type == std::size(kStoredTypes)) {
      type = 1;
      values = values.to(at::kDouble);
    }
    Append(payload, static_cast<uint32_t>(name.size()));
    payload.append(name);
    Append(payload, type);
    Append(payload, static_cast<uint8_t>(values.dim()));
    for (const int64_t dim : values.sizes()) Append(payload, dim);
    payload.append(static_cast<const char*>(values.const_data_ptr()), values.nbytes());
  }
  return absl::StrCat(kCheckpointMagic, Sha256Hex(payload), payload);
}

absl::StatusOr<Checkpoint> ParseCheckpoint(absl::string_view content) {
  if (content.size() < kCheckpointMagic.size() + kDigestSize || content.substr(0, kCheckpointMagic.size()) != kCheckpointMagic) {
    return DataLoss("it does not start like one");
  }
  content.remove_prefix(kCheckpointMagic.size());
  const absl::string_view digest = content.substr(0, kDigestSize);
  content.remove_prefix(kDigestSize);
  if (Sha256Hex(content) != digest) return DataLoss("its digest does not fit its content");
  Reader reader(content);
  const auto count = reader.Take<uint32_t>();
  if (!count) return DataLoss("it ends in its header");
  Checkpoint checkpoint;
  for (uint32_t i = 0; i < *count; ++i) {
    const auto name_size = reader.Take<uint32_t>();
    const auto name = name_size ? reader.TakeBytes(*name_size) : std::nullopt;
    auto tensor = name ? TakeTensor(reader) : std::nullopt;
    if (!tensor) return DataLoss(absl::StrCat("tensor ", i, " does not fit the file"));
    checkpoint.emplace(std::string(*name), *std::move(tensor));
  }
  if (!reader.empty()) return DataLoss("bytes follow the last tensor");
  return checkpoint;
}

absl::Status WriteCheckpoint(const Checkpoint& checkpoint, const std::string& path) {
  const std::string unfinished = path + ".part";
  absl::Status written = WriteDurably(SerializeCheckpoint(checkpoint), unfinished);
  if (written.ok() && std::rename(unfinished.c_str(), path.c_str()) != 0) {
    written = absl::ErrnoToStatus(errno, absl::StrCat("checkpoint can't be put in place: path=", path));
  }
  // On a full disk it would take the room of what is worth more.
  if (!written.ok()) std::remove(unfinished.c_str());
  return written;
}

absl::StatusOr<Checkpoint> ReadCheckpoint(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat("checkpoint can't be opened: path=", path));
  std::ostringstream content;
  content << file.rdbuf();
  auto checkpoint = ParseCheckpoint(content.str());
  if (!checkpoint.ok()) return absl::DataLossError(absl::StrCat(checkpoint.status().message(), ": path=", path));
  return checkpoint;
}

}  // namespace pactory::quant
