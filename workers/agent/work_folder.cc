#include "workers/agent/work_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "base/ids.h"

namespace pactory {

absl::StatusOr<WorkFolder> WorkFolder::Open(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return absl::InvalidArgumentError(absl::StrCat("work-dir: can't be made: ", path, ": ", error.message()));
  const int lock = open((path + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (lock < 0) return absl::InvalidArgumentError(absl::StrCat("work-dir: can't be written to: ", path));
  WorkFolder folder(std::filesystem::absolute(path).string(), lock);
  if (flock(lock, LOCK_EX | LOCK_NB) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("work-dir: another agent uses this folder; give each its own: ", path));
  }
  const std::string id_path = path + "/worker_id";
  std::ifstream(id_path) >> folder.worker_id_;
  if (!IsUuid(folder.worker_id_)) {
    folder.worker_id_ = NewUuid();
    std::ofstream file(id_path);
    file << folder.worker_id_ << "\n";
    if (!file.flush()) return absl::InvalidArgumentError(absl::StrCat("work-dir: can't be written to: ", path));
  }
  return folder;
}

WorkFolder::~WorkFolder() {
  if (lock_fd_ >= 0) close(lock_fd_);
}

}  // namespace pactory
