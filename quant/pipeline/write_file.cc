#include "quant/pipeline/write_file.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "base/error.h"

namespace pactory::quant {

absl::Status WriteError(const std::string& path, int error) {
  const std::string message = absl::StrCat("file must be writable: ", std::strerror(error), ": path=", path);
  const bool full = error == ENOSPC || error == EDQUOT;
  return full ? WithReason(absl::UnavailableError(message), "DISK_FULL") : absl::InternalError(message);
}

absl::Status WriteFile(const std::string& path, absl::string_view content) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(content.data(), static_cast<std::streamsize>(content.size()));
  file.close();
  if (file) return absl::OkStatus();
  const int error = errno;
  // Half a report would be taken for one.
  std::remove(path.c_str());
  return WriteError(path, error);
}

}  // namespace pactory::quant
