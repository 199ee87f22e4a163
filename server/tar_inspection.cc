#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/dataset_inspection.h"

namespace pactory {
namespace {

constexpr int64_t kBlock = 512;
// One sample proves the form; what comes later is the trainer's to check.
constexpr int kMaxHeaders = 10000;
constexpr int64_t kMaxLongName = 1 << 16;

struct Header {
  std::string name;
  char type = '0';
  int64_t size = 0;
};

// A number in octal text, or in base 256 where its first bit is set.
absl::StatusOr<int64_t> NumberOf(absl::string_view field) {
  if (!field.empty() && (static_cast<unsigned char>(field[0]) & 0x80) != 0) {
    int64_t value = static_cast<unsigned char>(field[0]) & 0x7f;
    for (const char c : field.substr(1)) {
      if (value > (INT64_MAX >> 8)) return BadData("must be a tar file with sizes that can be");
      value = (value << 8) | static_cast<unsigned char>(c);
    }
    return value;
  }
  int64_t value = 0;
  for (const char c : field) {
    if (c == ' ' || c == '\0') continue;
    if (c < '0' || c > '7') return BadData("must be an uncompressed tar file");
    value = value * 8 + (c - '0');
  }
  return value;
}

std::string TextOf(absl::string_view field) { return std::string(field.substr(0, field.find('\0'))); }

absl::StatusOr<Header> HeaderOf(absl::string_view block) {
  // The checksum counts its own field as spaces.
  int64_t sum = 0;
  for (int i = 0; i < kBlock; ++i) sum += i >= 148 && i < 156 ? ' ' : static_cast<unsigned char>(block[i]);
  PACTORY_ASSIGN_OR_RETURN(const int64_t promised, NumberOf(block.substr(148, 8)));
  if (sum != promised) return BadData("must be an uncompressed tar file: a header's checksum is wrong");
  Header header;
  header.name = TextOf(block.substr(0, 100));
  const std::string prefix = TextOf(block.substr(345, 155));
  if (block.substr(257, 5) == "ustar" && !prefix.empty()) header.name = absl::StrCat(prefix, "/", header.name);
  header.type = block[156];
  PACTORY_ASSIGN_OR_RETURN(header.size, NumberOf(block.substr(124, 12)));
  return header;
}

bool IsImage(const std::string& extension) { return extension == "jpg" || extension == "jpeg" || extension == "png"; }

// A class, a line of text, regions or a mask.
bool TellsOfImage(const std::string& extension) {
  return extension == "cls" || extension == "txt" || extension == "json" || extension == "mask.png";
}

}  // namespace

absl::Status InspectTar(int64_t size_bytes, const ReadExactlyFn& read) {
  struct Sample {
    bool image = false;
    bool label = false;
  };
  std::map<std::string, Sample> samples;
  std::string long_name;
  int64_t offset = 0;
  for (int i = 0; i < kMaxHeaders && offset + kBlock <= size_bytes; ++i) {
    PACTORY_ASSIGN_OR_RETURN(const std::string block, read(offset, kBlock));
    if (block.find_first_not_of('\0') == std::string::npos) break;
    PACTORY_ASSIGN_OR_RETURN(Header header, HeaderOf(block));
    offset += kBlock;
    if (header.size < 0 || header.size > size_bytes - offset) {
      return BadData(absl::StrCat("must be whole; the tar file ends within ", header.name));
    }
    const int64_t content = offset;
    offset += (header.size + kBlock - 1) / kBlock * kBlock;
    if (header.type == 'L') {
      if (header.size > kMaxLongName) return BadData("must have shorter file names");
      PACTORY_ASSIGN_OR_RETURN(const std::string name, read(content, header.size));
      long_name = TextOf(name);
      continue;
    }
    if (header.type != '0' && header.type != '\0' && header.type != '7') continue;
    if (!long_name.empty()) header.name = std::exchange(long_name, "");
    // WebDataset: the key is all before the first dot of the file's own name.
    const size_t folder = header.name.rfind('/') + 1;
    const size_t dot = header.name.find('.', folder);
    if (dot == std::string::npos) continue;
    const std::string extension = absl::AsciiStrToLower(header.name.substr(dot + 1));
    Sample& sample = samples[header.name.substr(0, dot)];
    sample.image = sample.image || IsImage(extension);
    sample.label = sample.label || TellsOfImage(extension);
    if (sample.image && sample.label) return absl::OkStatus();
  }
  return BadData(absl::StrCat(
      "must have samples of an image and its class, text, regions or mask (`key.jpg` or `key.png` beside `key.cls`, `.txt`, `.json` or "
      "`.mask.png`); none of its first ",
      samples.size(), " keys has both"));
}

}  // namespace pactory
