// Layout (PKWARE APPNOTE 6.3), all numbers little endian:
//   end of central directory     PK\5\6  +10 entries(2) +12 size(4) +16 offset(4) +20 comment length(2), 22 bytes
//   ZIP64 locator, 20 before it  PK\6\7  +8 offset of the ZIP64 end record(8)
//   ZIP64 end record             PK\6\6  +32 entries(8) +40 size(8) +48 offset(8), 56 bytes
//   central entry                PK\1\2  +8 flags(2) +10 method(2) +20 compressed(4) +24 size(4) +28 name(2) +30
//   extra(2)
//                                        +32 comment(2) +42 local offset(4), 46 bytes, then name, extra, comment
//   local header                 PK\3\4  +26 name(2) +28 extra(2), 30 bytes, then name, extra, data
//   ZIP64 extra field, id 1      size(8), compressed(8), local offset(8): those that are all ones above, in this order
#include "quant/data/zip_directory.h"

#include <archive.h>
#include <archive_entry.h>

#include <algorithm>
#include <memory>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/utf8.h"

namespace pactory::quant {
namespace {

constexpr uint64_t kAllOnes32 = 0xffffffff;

absl::Status Damaged(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("zip archive must be whole; is the file cut short? ", what));
}

// Reads little-endian numbers; 0 behind the end, which the callers' bounds checks exclude.
uint64_t Number(absl::string_view bytes, uint64_t offset, int width) {
  uint64_t value = 0;
  for (int index = width - 1; index >= 0; --index) {
    const uint64_t at = offset + index;
    value = value << 8 | (at < bytes.size() ? static_cast<uint8_t>(bytes[at]) : 0);
  }
  return value;
}

bool Fits(absl::string_view bytes, uint64_t offset, uint64_t length) {
  return offset <= bytes.size() && length <= bytes.size() - offset;
}

struct Directory {
  uint64_t entries = 0;
  uint64_t offset = 0;
};

absl::StatusOr<Directory> FindDirectory(absl::string_view archive) {
  const size_t end = archive.rfind(absl::string_view("PK\x05\x06", 4));
  if (end == absl::string_view::npos || !Fits(archive, end, 22)) return Damaged("end of the directory is missing");
  Directory directory{.entries = Number(archive, end + 10, 2), .offset = Number(archive, end + 16, 4)};
  if (directory.offset != kAllOnes32 && directory.entries != 0xffff) return directory;
  if (end < 20 || archive.substr(end - 20, 4) != absl::string_view("PK\x06\x07", 4)) {
    return Damaged("ZIP64 locator is missing");
  }
  const uint64_t record = Number(archive, end - 12, 8);
  if (!Fits(archive, record, 56) || archive.substr(record, 4) != absl::string_view("PK\x06\x06", 4)) {
    return Damaged("ZIP64 end record is missing");
  }
  return Directory{.entries = Number(archive, record + 32, 8), .offset = Number(archive, record + 48, 8)};
}

// Replaces the numbers that are all ones by those of the ZIP64 extra field.
void ReadZip64(absl::string_view extra, uint64_t& size, uint64_t& compressed, uint64_t& local) {
  for (uint64_t at = 0; Fits(extra, at, 4);) {
    const uint64_t length = Number(extra, at + 2, 2);
    if (Number(extra, at, 2) == 1) {
      uint64_t field = at + 4;
      for (uint64_t* number : {&size, &compressed, &local}) {
        if (*number != kAllOnes32) continue;
        *number = Number(extra, field, 8);
        field += 8;
      }
      return;
    }
    at += 4 + length;
  }
}

}  // namespace

absl::StatusOr<std::vector<ZipMember>> ReadZipDirectory(absl::string_view archive) {
  PACTORY_ASSIGN_OR_RETURN(const Directory directory, FindDirectory(archive));
  std::vector<ZipMember> members;
  uint64_t at = directory.offset;
  for (uint64_t entry = 0; entry < directory.entries; ++entry) {
    if (!Fits(archive, at, 46) || archive.substr(at, 4) != absl::string_view("PK\x01\x02", 4)) {
      return Damaged(absl::StrCat("directory entry ", entry, " is missing"));
    }
    if ((Number(archive, at + 8, 2) & 1) != 0) return absl::InvalidArgumentError("zip archive must not be encrypted");
    const uint64_t name_length = Number(archive, at + 28, 2);
    const uint64_t extra_length = Number(archive, at + 30, 2);
    if (!Fits(archive, at + 46, name_length + extra_length)) return Damaged("directory entry is cut");
    ZipMember member;
    member.name = std::string(archive.substr(at + 46, name_length));
    // Names are quoted in messages, which must be UTF-8.
    if (!IsUtf8(member.name)) return absl::InvalidArgumentError("names in the zip archive must be UTF-8");
    member.method = static_cast<int>(Number(archive, at + 10, 2));
    member.size = Number(archive, at + 24, 4);
    uint64_t compressed = Number(archive, at + 20, 4);
    uint64_t local = Number(archive, at + 42, 4);
    ReadZip64(archive.substr(at + 46 + name_length, extra_length), member.size, compressed, local);
    if (!Fits(archive, local, 30) || archive.substr(local, 4) != absl::string_view("PK\x03\x04", 4)) {
      return Damaged(absl::StrCat("member ", member.name, " is missing"));
    }
    const uint64_t data = local + 30 + Number(archive, local + 26, 2) + Number(archive, local + 28, 2);
    if (!Fits(archive, data, compressed)) return Damaged(absl::StrCat("member ", member.name, " is cut"));
    member.data = archive.substr(data, compressed);
    if (member.method == 0 && compressed != member.size) return Damaged(absl::StrCat("member ", member.name));
    members.push_back(std::move(member));
    at += 46 + name_length + extra_length + Number(archive, at + 32, 2);
  }
  return members;
}

absl::StatusOr<std::string> InflateMember(absl::string_view archive, const ZipMember& member) {
  std::unique_ptr<struct archive, int (*)(struct archive*)> reader(archive_read_new(), archive_read_free);
  archive_read_support_format_zip(reader.get());
  if (archive_read_open_memory(reader.get(), archive.data(), archive.size()) != ARCHIVE_OK) {
    return Damaged(absl::StrCat("member ", member.name));
  }
  struct archive_entry* entry = nullptr;
  while (archive_read_next_header(reader.get(), &entry) == ARCHIVE_OK) {
    const char* name = archive_entry_pathname(entry);
    if (name == nullptr || member.name != name) continue;
    std::string content;
    const void* block = nullptr;
    size_t length = 0;
    la_int64_t offset = 0;
    // Grows with what is really there: a directory that lies about the size costs nothing.
    int result = ARCHIVE_OK;
    while ((result = archive_read_data_block(reader.get(), &block, &length, &offset)) == ARCHIVE_OK) {
      if (content.size() + length > member.size) return Damaged(absl::StrCat("member ", member.name, " is too long"));
      content.append(static_cast<const char*>(block), length);
    }
    if (result != ARCHIVE_EOF || content.size() != member.size) {
      return Damaged(absl::StrCat("member ", member.name, " can't be inflated"));
    }
    return content;
  }
  return Damaged(absl::StrCat("member ", member.name, " is missing"));
}

}  // namespace pactory::quant
