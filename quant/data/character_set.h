// Lines of text as the classes that a recognition model reads them in, and back. Used by tar_dataset and the report's stage. Thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace pactory::quant {

/// The characters of a model's classes: the first is class 1, as class 0 is CTC's blank.
class CharacterSet {
 public:
  /// `characters`: UTF-8, one code point for each class. INVALID_ARGUMENT names preprocess.characters where there is none, or one twice.
  static absl::StatusOr<CharacterSet> Create(absl::string_view characters);

  int64_t size() const { return static_cast<int64_t>(characters_.size()); }

  /// Returns the classes of a line, a line break at its end left out. INVALID_ARGUMENT where it is no UTF-8, empty, of several lines or has
  /// a character that is not in the set, which is named.
  absl::StatusOr<std::vector<int64_t>> Encode(absl::string_view line) const;

  /// Returns the text of classes up to the first -1; U+FFFD for those that are not in the set.
  std::string Decode(absl::Span<const int64_t> classes) const;

 private:
  std::vector<std::string> characters_;
  std::map<std::string, int64_t, std::less<>> classes_;
};

}  // namespace pactory::quant
