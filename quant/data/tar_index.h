// The samples of a WebDataset tar: where each image lies, and what lies beside it. Used by tar_dataset. Stateless.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace pactory::quant {

/// One image and what `key.*` files tell of it, in the archive's memory.
struct TarSample {
  std::string key;
  /// The encoded image.
  absl::string_view image;
  /// `.cls`.
  std::optional<int64_t> label;
  /// `.txt`, `.mask.png` and `.json`, as they are.
  std::optional<absl::string_view> text, mask, regions;
};

/// Walks the archive, whose bytes must outlive the result. INVALID_ARGUMENT names the member that is wrong: a class that is no number or
/// has no image, images with and without a class or a mask mixed, no image at all, a compressed or damaged archive. Texts and regions may
/// lie beside some images alone, as not every job reads them: RequireAll.
absl::StatusOr<std::vector<TarSample>> IndexTar(absl::string_view archive);

/// INVALID_ARGUMENT names the first sample without the `member`, a file with `suffix`.
absl::Status RequireAll(const std::vector<TarSample>& samples, std::optional<absl::string_view> TarSample::*member,
                        absl::string_view suffix);

}  // namespace pactory::quant
