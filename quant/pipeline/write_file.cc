#include "quant/pipeline/write_file.h"

#include <fstream>

#include "absl/strings/str_cat.h"

namespace pactory::quant {

absl::Status WriteFile(const std::string& path, absl::string_view content) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(content.data(), static_cast<std::streamsize>(content.size()));
  file.close();
  if (!file) return absl::ResourceExhaustedError(absl::StrCat("file must be writable, is the disk full? path=", path));
  return absl::OkStatus();
}

}  // namespace pactory::quant
