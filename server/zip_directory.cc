#include "server/zip_directory.h"

#include <zlib.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace pactory {
namespace {

constexpr int64_t kEndSize = 22;
constexpr int64_t kMaxComment = 65535;
constexpr int64_t kMaxDirectory = 1 << 20;
constexpr int64_t kLocalHeaderSize = 30;
constexpr int64_t kZip64LocatorSize = 20;
constexpr int64_t kZip64EndSize = 56;
constexpr uint64_t kInZip64 = 0xffffffff;

absl::Status NotNpz() {
  return BadData("must be a .npz file (a zip of .npy arrays); this one is truncated, damaged or something else");
}

// Little-endian; 0 beyond the end, which the callers' own checks then refuse.
uint64_t Number(absl::string_view bytes, size_t offset, int size) {
  uint64_t value = 0;
  for (int i = size - 1; i >= 0; --i) {
    value = value << 8 | (offset + i < bytes.size() ? static_cast<unsigned char>(bytes[offset + i]) : 0);
  }
  return value;
}

struct Directory {
  int64_t offset = 0;
  int64_t size = 0;
};

absl::StatusOr<Directory> FindDirectory(int64_t size_bytes, const ReadExactlyFn& read) {
  const int64_t tail_size = std::min(size_bytes, kEndSize + kMaxComment);
  PACTORY_ASSIGN_OR_RETURN(const std::string tail, read(size_bytes - tail_size, tail_size));
  const size_t end = tail.rfind("PK\x05\x06");
  if (end == std::string::npos || end + kEndSize > tail.size()) return NotNpz();
  uint64_t size = Number(tail, end + 12, 4);
  uint64_t offset = Number(tail, end + 16, 4);
  if (offset == kInZip64 || size == kInZip64) {
    const int64_t locator_offset = size_bytes - tail_size + static_cast<int64_t>(end) - kZip64LocatorSize;
    if (locator_offset < 0) return NotNpz();
    PACTORY_ASSIGN_OR_RETURN(const std::string locator, read(locator_offset, kZip64LocatorSize));
    const uint64_t end64_offset = Number(locator, 8, 8);
    if (!absl::StartsWith(locator, "PK\x06\x07") || end64_offset > static_cast<uint64_t>(size_bytes - kZip64EndSize))
      return NotNpz();
    PACTORY_ASSIGN_OR_RETURN(const std::string end64, read(static_cast<int64_t>(end64_offset), kZip64EndSize));
    size = Number(end64, 40, 8);
    offset = Number(end64, 48, 8);
  }
  if (size > static_cast<uint64_t>(kMaxDirectory))
    return BadData(absl::StrCat("must be a .npz with a directory of at most 1 MiB: ", size));
  if (offset > static_cast<uint64_t>(size_bytes) || size > static_cast<uint64_t>(size_bytes) - offset) return NotNpz();
  return Directory{static_cast<int64_t>(offset), static_cast<int64_t>(size)};
}

// Sizes and offsets that don't fit 32 bits stand in an extra field, in this order.
void ReadZip64(absl::string_view extra, uint64_t& uncompressed, uint64_t& compressed, uint64_t& offset) {
  for (size_t at = 0; at + 4 <= extra.size();) {
    const uint64_t id = Number(extra, at, 2);
    const uint64_t size = Number(extra, at + 2, 2);
    size_t field = at + 4;
    if (id == 1) {
      for (uint64_t* value : {&uncompressed, &compressed, &offset}) {
        if (*value != kInZip64) continue;
        *value = Number(extra, field, 8);
        field += 8;
      }
      return;
    }
    at += 4 + size;
  }
}

}  // namespace

absl::StatusOr<std::vector<ZipEntry>> ReadZipDirectory(int64_t size_bytes, const ReadExactlyFn& read) {
  if (size_bytes < kEndSize) return NotNpz();
  PACTORY_ASSIGN_OR_RETURN(const Directory directory, FindDirectory(size_bytes, read));
  PACTORY_ASSIGN_OR_RETURN(const std::string bytes, read(directory.offset, directory.size));
  std::vector<ZipEntry> entries;
  const absl::string_view view = bytes;
  constexpr size_t kFixedSize = 46;
  for (size_t at = 0; at < view.size();) {
    if (view.substr(at, 4) != "PK\x01\x02" || at + kFixedSize > view.size()) return NotNpz();
    const size_t name_size = Number(view, at + 28, 2);
    const size_t extra_size = Number(view, at + 30, 2);
    const size_t comment_size = Number(view, at + 32, 2);
    if (at + kFixedSize + name_size + extra_size + comment_size > view.size()) return NotNpz();
    uint64_t compressed = Number(view, at + 20, 4);
    uint64_t uncompressed = Number(view, at + 24, 4);
    uint64_t offset = Number(view, at + 42, 4);
    ReadZip64(view.substr(at + kFixedSize + name_size, extra_size), uncompressed, compressed, offset);
    if (offset > static_cast<uint64_t>(size_bytes) || compressed > static_cast<uint64_t>(size_bytes) ||
        uncompressed > (uint64_t{1} << 50)) {
      return NotNpz();
    }
    ZipEntry entry;
    entry.name = std::string(view.substr(at + kFixedSize, name_size));
    entry.method = static_cast<int>(Number(view, at + 10, 2));
    entry.compressed_size = static_cast<int64_t>(compressed);
    entry.uncompressed_size = static_cast<int64_t>(uncompressed);
    entry.header_offset = static_cast<int64_t>(offset);
    entries.push_back(std::move(entry));
    at += kFixedSize + name_size + extra_size + comment_size;
  }
  return entries;
}

absl::StatusOr<std::string> ReadEntryStart(const ZipEntry& entry, int64_t size, const ReadExactlyFn& read) {
  auto header = read(entry.header_offset, kLocalHeaderSize);
  if (absl::IsOutOfRange(header.status())) return NotNpz();
  PACTORY_RETURN_IF_ERROR(header.status());
  if (!absl::StartsWith(*header, "PK\x03\x04")) return NotNpz();
  const int64_t content =
      entry.header_offset + kLocalHeaderSize + static_cast<int64_t>(Number(*header, 26, 2) + Number(*header, 28, 2));
  auto raw = read(content, std::min(size, entry.compressed_size));
  if (absl::IsOutOfRange(raw.status())) return NotNpz();
  PACTORY_RETURN_IF_ERROR(raw.status());
  if (entry.method == 0) return raw;
  if (entry.method != Z_DEFLATED)
    return BadData(absl::StrCat("must be stored or deflated: ", entry.name.substr(0, 100), " method=", entry.method));

  z_stream stream = {};
  constexpr int kRawDeflate = -MAX_WBITS;
  if (inflateInit2(&stream, kRawDeflate) != Z_OK) return absl::ResourceExhaustedError("no memory to inflate with");
  std::string start(size, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(raw->data());
  stream.avail_in = static_cast<uInt>(raw->size());
  stream.next_out = reinterpret_cast<Bytef*>(start.data());
  stream.avail_out = static_cast<uInt>(start.size());
  const int inflated = inflate(&stream, Z_SYNC_FLUSH);
  start.resize(size - stream.avail_out);
  inflateEnd(&stream);
  if (inflated != Z_OK && inflated != Z_STREAM_END && inflated != Z_BUF_ERROR) return NotNpz();
  return start;
}

}  // namespace pactory
