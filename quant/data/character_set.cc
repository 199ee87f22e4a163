#include "quant/data/character_set.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/error.h"
#include "base/utf8.h"

namespace pactory::quant {
namespace {

constexpr char kNoCharacter[] = "\xef\xbf\xbd";

// The code points of well-formed UTF-8.
std::vector<absl::string_view> CodePoints(absl::string_view text) {
  std::vector<absl::string_view> points;
  for (size_t begin = 0; begin < text.size();) {
    size_t end = begin + 1;
    while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) ++end;
    points.push_back(text.substr(begin, end - begin));
    begin = end;
  }
  return points;
}

// Like `U+4E2D`: what a message shows must be told apart from its likes.
std::string NumberOfPoint(absl::string_view point) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(point[i]); };
  uint32_t value = point.size() == 1 ? byte(0) : byte(0) & (0x7f >> point.size());
  for (size_t i = 1; i < point.size(); ++i) value = value << 6 | (byte(i) & 0x3f);
  return absl::StrFormat("U+%04X", value);
}

}  // namespace

absl::StatusOr<CharacterSet> CharacterSet::Create(absl::string_view characters) {
  constexpr char kField[] = "preprocess.characters";
  if (!IsUtf8(characters)) return InvalidField(kField, "must be UTF-8");
  CharacterSet set;
  for (const absl::string_view point : CodePoints(characters)) {
    set.characters_.emplace_back(point);
    if (set.classes_.emplace(point, set.size()).second) continue;
    return InvalidField(kField, absl::StrCat("must have each character once, one for each class: `", point, "` (", NumberOfPoint(point),
                                             ") is that of class ", set.classes_.find(point)->second, " and of class ", set.size()));
  }
  if (set.size() == 0) return InvalidField(kField, "must have a character for each of the model's classes but the blank");
  return set;
}

absl::StatusOr<std::vector<int64_t>> CharacterSet::Encode(absl::string_view line) const {
  while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.remove_suffix(1);
  if (!IsUtf8(line)) return absl::InvalidArgumentError("text must be UTF-8");
  if (line.empty()) return absl::InvalidArgumentError("text must have a character");
  if (line.find_first_of("\r\n") != absl::string_view::npos) return absl::InvalidArgumentError("text must be one line");
  std::vector<int64_t> classes;
  for (const absl::string_view point : CodePoints(line)) {
    const auto known = classes_.find(point);
    if (known == classes_.end()) {
      return absl::InvalidArgumentError(absl::StrCat("text must be of the characters in preprocess.characters; leave the sample out, or "
                                                     "add it to both the model and the config: `", point, "` (", NumberOfPoint(point), ")"));
    }
    classes.push_back(known->second);
  }
  return classes;
}

std::string CharacterSet::Decode(absl::Span<const int64_t> classes) const {
  std::string text;
  for (const int64_t value : classes) {
    if (value == -1) break;
    text += value >= 1 && value <= size() ? characters_[static_cast<size_t>(value - 1)] : kNoCharacter;
  }
  return text;
}

}  // namespace pactory::quant
