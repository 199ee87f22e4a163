// The samples of a WebDataset tar: where each image lies, and its class. Used by tar_dataset. Stateless.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace pactory::quant {

/// One image and its class.
struct TarSample {
  std::string key;
  /// The encoded image, in the archive's memory.
  absl::string_view image;
  std::optional<int64_t> label;
};

/// Walks the archive, whose bytes must outlive the result. INVALID_ARGUMENT names the member that is wrong: a class
/// that is no number or has no image, images with and without a class mixed, no image at all, a compressed or damaged
/// archive.
absl::StatusOr<std::vector<TarSample>> IndexTar(absl::string_view archive);

}  // namespace pactory::quant
