// A file in memory without a copy. Used by the dataset readers. Thread-safe once open.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace pactory::quant {

/// A read-only mapping of a whole file.
class MappedFile {
 public:
  /// Maps a file; NOT_FOUND or INVALID_ARGUMENT begins with the path.
  static absl::StatusOr<MappedFile> Open(const std::string& path);

  /// The file's bytes, for as long as this object or a moved-to one lives.
  absl::string_view bytes() const;

 private:
  struct Mapping;
  explicit MappedFile(std::shared_ptr<const Mapping> mapping);
  std::shared_ptr<const Mapping> mapping_;
};

}  // namespace pactory::quant
