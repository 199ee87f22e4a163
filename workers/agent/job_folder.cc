#include "workers/agent/job_folder.h"

#include <spdlog/spdlog.h>

#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace pactory {
namespace {

namespace fs = std::filesystem;

}  // namespace

absl::StatusOr<JobFolder> JobFolder::Make(const std::string& work_folder, absl::string_view name) {
  const std::string path = absl::StrCat(work_folder, "/jobs/", name);
  std::error_code error;
  fs::remove_all(path, error);
  JobFolder folder(path);
  for (const std::string& below : {folder.output(), folder.held(), path + "/tmp"}) {
    if (!error) fs::create_directories(below, error);
  }
  if (error) return absl::InternalError(absl::StrCat("the job folder can't be made: ", path, ": ", error.message()));
  return folder;
}

JobFolder::~JobFolder() {
  if (path_.empty()) return;
  std::error_code error;
  fs::remove_all(path_, error);
  if (error) spdlog::warn("the job folder can't be removed: {}: {}", path_, error.message());
}

absl::StatusOr<std::string> JobFolder::FileInside(const std::string& path) const {
  std::error_code error;
  const std::string folder = fs::canonical(path_, error).string() + "/";
  const fs::path real = fs::canonical(path, error);
  if (error || !absl::StartsWith(real.string(), folder) || !fs::is_regular_file(real, error)) {
    return absl::PermissionDeniedError(absl::StrCat("must be a file in the job folder: ", path));
  }
  return real.string();
}

absl::Status RemoveLeftoverJobFolders(const std::string& work_folder) {
  std::error_code error;
  const fs::path jobs = fs::path(work_folder) / "jobs";
  if (!fs::exists(jobs, error)) return absl::OkStatus();
  const auto removed = fs::remove_all(jobs, error);
  if (error) {
    return absl::InternalError(
        absl::StrCat("left-over job folders can't be removed: ", jobs.string(), ": ", error.message()));
  }
  if (removed > 1) spdlog::info("removed the folders of runs that were cut off: {}", jobs.string());
  return absl::OkStatus();
}

}  // namespace pactory
