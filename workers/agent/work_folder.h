// The agent's own folder: one agent at a time, and the id that stays the same over its restarts. Used by main. Not
// thread-safe.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace pactory {

/// Holds the lock of a work folder for as long as it lives.
class WorkFolder {
 public:
  /// Makes the folder where it is missing, locks it, and reads or makes the worker's id. FAILED_PRECONDITION while
  /// another agent uses the folder.
  static absl::StatusOr<WorkFolder> Open(const std::string& path);

  WorkFolder(WorkFolder&& other) noexcept
      : path_(std::move(other.path_)), worker_id_(std::move(other.worker_id_)), lock_fd_(other.lock_fd_) {
    other.lock_fd_ = -1;
  }
  WorkFolder& operator=(WorkFolder&&) = delete;
  ~WorkFolder();

  const std::string& path() const { return path_; }
  const std::string& worker_id() const { return worker_id_; }

 private:
  WorkFolder(std::string path, int lock_fd) : path_(std::move(path)), lock_fd_(lock_fd) {}
  std::string path_;
  std::string worker_id_;
  int lock_fd_;
};

}  // namespace pactory
