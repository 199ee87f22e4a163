// Layout (PKWARE APPNOTE 6.3), all numbers little endian:
//   end of central directory     PK\5\6  +12 size(4) +16 offset(4) +20 comment length(2), 22 bytes
//   ZIP64 locator, 20 before it  PK\6\7  +8 offset of the ZIP64 end record(8)
//   ZIP64 end record             PK\6\6  +40 size(8) +48 offset(8), 56 bytes
//   central entry                PK\1\2  +8 flags(2) +10 method(2) +16 CRC-32(4) +20 stored size(4) +24 size(4)
//                                        +28 name(2) +30 extra(2) +32 comment(2) +42 local offset(4), 46 bytes, then name, extra,
//                                        comment
//   local header                 PK\3\4  +26 name(2) +28 extra(2), 30 bytes, then name, extra, content
//   ZIP64 extra field, id 1      size(8), stored size(8), local offset(8): those that are all ones above, in this order
#include "npz/zip_directory.h"

#include <zlib.h>

#include <algorithm>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/utf8.h"

namespace pactory {
namespace {

constexpr int64_t kEndSize = 22;
constexpr int64_t kMaxComment = 65535;
constexpr int64_t kMaxDirectory = 1 << 20;
constexpr int64_t kMaxContent = int64_t{1} << 50;
constexpr int64_t kEntrySize = 46;
constexpr int64_t kLocalHeaderSize = 30;
constexpr int64_t kZip64LocatorSize = 20;
constexpr int64_t kZip64EndSize = 56;
constexpr uint64_t kInZip64 = 0xffffffff;

absl::Status Damaged(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("zip archive must be whole; is the file cut short? ", what));
}

// Little endian; 0 beyond the end, which the callers' own checks then refuse.
uint64_t Number(absl::string_view bytes, size_t offset, int size) {
  uint64_t value = 0;
  for (int index = size - 1; index >= 0; --index) {
    const size_t at = offset + index;
    value = value << 8 | (at < bytes.size() ? static_cast<unsigned char>(bytes[at]) : 0);
  }
  return value;
}

bool Fits(const RangedFile& archive, uint64_t offset, uint64_t size) {
  const uint64_t whole = static_cast<uint64_t>(archive.size);
  return offset <= whole && size <= whole - offset;
}

// Reads a part that the archive's own numbers point to, which may lie.
absl::StatusOr<std::string> ReadPart(const RangedFile& archive, uint64_t offset, uint64_t size, absl::string_view what) {
  if (!Fits(archive, offset, size)) return Damaged(absl::StrCat(what, " is missing"));
  return archive.read(static_cast<int64_t>(offset), static_cast<int64_t>(size));
}

absl::StatusOr<std::string> ReadDirectoryBytes(const RangedFile& archive) {
  const int64_t tail_size = std::min(archive.size, kEndSize + kMaxComment);
  PACTORY_ASSIGN_OR_RETURN(const std::string tail, archive.read(archive.size - tail_size, tail_size));
  const size_t end = tail.rfind("PK\x05\x06");
  if (end == std::string::npos || end + kEndSize > tail.size()) return Damaged("end of the directory is missing");
  uint64_t size = Number(tail, end + 12, 4);
  uint64_t offset = Number(tail, end + 16, 4);
  if (offset == kInZip64 || size == kInZip64) {
    const uint64_t locator_offset = archive.size - tail_size + end - kZip64LocatorSize;
    PACTORY_ASSIGN_OR_RETURN(const std::string locator,
                             ReadPart(archive, locator_offset, kZip64LocatorSize, "ZIP64 locator"));
    PACTORY_ASSIGN_OR_RETURN(const std::string record,
                             ReadPart(archive, Number(locator, 8, 8), kZip64EndSize, "ZIP64 end record"));
    if (!absl::StartsWith(locator, "PK\x06\x07") || !absl::StartsWith(record, "PK\x06\x06")) {
      return Damaged("ZIP64 end record is missing");
    }
    size = Number(record, 40, 8);
    offset = Number(record, 48, 8);
  }
  if (size > static_cast<uint64_t>(kMaxDirectory)) {
    return absl::InvalidArgumentError(absl::StrCat("zip archive's directory must be at most 1 MiB: bytes=", size));
  }
  return ReadPart(archive, offset, size, "directory");
}

// Replaces the numbers that are all ones by those of the ZIP64 extra field.
void ReadZip64(absl::string_view extra, uint64_t& size, uint64_t& stored_size, uint64_t& offset) {
  for (size_t at = 0; at + 4 <= extra.size(); at += 4 + Number(extra, at + 2, 2)) {
    if (Number(extra, at, 2) != 1) continue;
    size_t field = at + 4;
    for (uint64_t* number : {&size, &stored_size, &offset}) {
      if (*number != kInZip64) continue;
      *number = Number(extra, field, 8);
      field += 8;
    }
    return;
  }
}

// Inflates at most `limit` bytes of a raw deflate stream. Grows with what is really there: a directory that lies about the
// size costs nothing.
absl::StatusOr<std::string> InflateAtMost(const ZipMember& member, absl::string_view stored, int64_t limit) {
  constexpr int kRawDeflate = -MAX_WBITS;
  constexpr int64_t kBlock = 1 << 20;
  z_stream stream = {};
  if (inflateInit2(&stream, kRawDeflate) != Z_OK) return absl::ResourceExhaustedError("no memory to inflate with");
  const std::unique_ptr<z_stream, int (*)(z_stream*)> end(&stream, inflateEnd);
  std::string content;
  int result = Z_OK;
  while (result == Z_OK && static_cast<int64_t>(content.size()) < limit) {
    if (stream.avail_in == 0) {
      const size_t part = std::min<size_t>(stored.size(), kBlock);
      stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(stored.data()));
      stream.avail_in = static_cast<uInt>(part);
      stored.remove_prefix(part);
    }
    const size_t used = content.size();
    content.resize(used + std::min<int64_t>(kBlock, limit - static_cast<int64_t>(used)));
    stream.next_out = reinterpret_cast<Bytef*>(content.data() + used);
    stream.avail_out = static_cast<uInt>(content.size() - used);
    result = inflate(&stream, Z_NO_FLUSH);
    content.resize(content.size() - stream.avail_out);
  }
  if (result == Z_OK || result == Z_STREAM_END) return content;
  // The first bytes of a member may end within its stream.
  if (result == Z_BUF_ERROR && !content.empty()) return content;
  return Damaged(absl::StrCat("member ", member.name, " can't be inflated"));
}

}  // namespace

absl::StatusOr<std::vector<ZipMember>> ReadZipDirectory(const RangedFile& archive) {
  PACTORY_ASSIGN_OR_RETURN(const std::string directory, ReadDirectoryBytes(archive));
  const absl::string_view bytes = directory;
  std::vector<ZipMember> members;
  for (size_t at = 0; at < bytes.size();) {
    if (bytes.substr(at, 4) != "PK\x01\x02") return Damaged(absl::StrCat("directory entry ", members.size(), " is missing"));
    const size_t name_size = Number(bytes, at + 28, 2);
    const size_t extra_size = Number(bytes, at + 30, 2);
    const size_t next = at + kEntrySize + name_size + extra_size + Number(bytes, at + 32, 2);
    if (next > bytes.size()) return Damaged(absl::StrCat("directory entry ", members.size(), " is cut"));
    if ((Number(bytes, at + 8, 2) & 1) != 0) return absl::InvalidArgumentError("zip archive must not be encrypted");
    ZipMember member;
    member.name = std::string(bytes.substr(at + kEntrySize, name_size));
    // Names are quoted in messages, which must be UTF-8.
    if (!IsUtf8(member.name)) return absl::InvalidArgumentError("names in the zip archive must be UTF-8");
    member.method = static_cast<int>(Number(bytes, at + 10, 2));
    member.crc = static_cast<uint32_t>(Number(bytes, at + 16, 4));
    uint64_t stored_size = Number(bytes, at + 20, 4);
    uint64_t size = Number(bytes, at + 24, 4);
    uint64_t offset = Number(bytes, at + 42, 4);
    ReadZip64(bytes.substr(at + kEntrySize + name_size, extra_size), size, stored_size, offset);
    if (!Fits(archive, offset, stored_size) || size > static_cast<uint64_t>(kMaxContent) ||
        (member.method == 0 && size != stored_size)) {
      return Damaged(absl::StrCat("member ", member.name, " is cut"));
    }
    member.size = static_cast<int64_t>(size);
    member.stored_size = static_cast<int64_t>(stored_size);
    member.header_offset = static_cast<int64_t>(offset);
    members.push_back(std::move(member));
    at = next;
  }
  return members;
}

absl::StatusOr<int64_t> FindContent(const RangedFile& archive, const ZipMember& member) {
  const std::string what = absl::StrCat("member ", member.name);
  PACTORY_ASSIGN_OR_RETURN(const std::string header, ReadPart(archive, member.header_offset, kLocalHeaderSize, what));
  if (!absl::StartsWith(header, "PK\x03\x04")) return Damaged(absl::StrCat(what, " is missing"));
  const uint64_t content = member.header_offset + kLocalHeaderSize + Number(header, 26, 2) + Number(header, 28, 2);
  if (!Fits(archive, content, member.stored_size)) return Damaged(absl::StrCat(what, " is cut"));
  return static_cast<int64_t>(content);
}

absl::StatusOr<std::string> ReadStart(const RangedFile& archive, const ZipMember& member, int64_t limit) {
  PACTORY_ASSIGN_OR_RETURN(const int64_t content, FindContent(archive, member));
  // Deflate never needs more bytes than stored blocks do: 5 for each 64 KiB.
  const int64_t enough = limit + (limit >> 13) + 64;
  PACTORY_ASSIGN_OR_RETURN(std::string stored,
                           archive.read(content, std::min(member.method == 0 ? limit : enough, member.stored_size)));
  if (member.method == 0) return stored;
  if (member.method != Z_DEFLATED) {
    return absl::InvalidArgumentError(
        absl::StrCat("members of the zip archive must be stored or deflated: name=", member.name, " method=", member.method));
  }
  return InflateAtMost(member, stored, limit);
}

absl::StatusOr<std::string> Inflate(const ZipMember& member, absl::string_view stored) {
  if (member.method != Z_DEFLATED) {
    return absl::InvalidArgumentError(
        absl::StrCat("members of the zip archive must be stored or deflated: name=", member.name, " method=", member.method));
  }
  PACTORY_ASSIGN_OR_RETURN(std::string content, InflateAtMost(member, stored, member.size + 1));
  if (static_cast<int64_t>(content.size()) != member.size ||
      crc32_z(0, reinterpret_cast<const Bytef*>(content.data()), content.size()) != member.crc) {
    return Damaged(absl::StrCat("member ", member.name, " is damaged"));
  }
  return content;
}

}  // namespace pactory
