#include "base/utf8.h"

#include <cstddef>

namespace pactory {
namespace {

// Length of the sequence that a first byte begins; 0 where it begins none.
size_t SequenceLength(unsigned char first) {
  if (first < 0x80) return 1;
  // 0xc0 and 0xc1 would only spell ASCII in two bytes.
  if (first >= 0xc2 && first < 0xe0) return 2;
  if (first >= 0xe0 && first < 0xf0) return 3;
  return first >= 0xf0 && first < 0xf5 ? 4 : 0;
}

}  // namespace

bool IsUtf8(absl::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const auto byte = [&](size_t offset) { return static_cast<unsigned char>(text[at + offset]); };
    const size_t length = SequenceLength(byte(0));
    if (length == 0 || length > text.size() - at) return false;
    for (size_t offset = 1; offset < length; ++offset) {
      if ((byte(offset) & 0xc0) != 0x80) return false;
    }
    // Overlong forms, surrogates and what lies above U+10FFFF show in the second byte.
    if (byte(0) == 0xe0 && byte(1) < 0xa0) return false;
    if (byte(0) == 0xed && byte(1) >= 0xa0) return false;
    if (byte(0) == 0xf0 && byte(1) < 0x90) return false;
    if (byte(0) == 0xf4 && byte(1) >= 0x90) return false;
    at += length;
  }
  return true;
}

}  // namespace pactory
