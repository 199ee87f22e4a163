// The folder of one run: what the trainer may write to. Gone when the run is over. Used by runs. Not thread-safe.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace pactory {

/// A fresh folder below `<work folder>/jobs`, removed with all it holds by the destructor.
class JobFolder {
 public:
  /// Makes the folder `<work folder>/jobs/<name>` with `output`, `tmp` and `held` in it.
  static absl::StatusOr<JobFolder> Make(const std::string& work_folder, absl::string_view name);

  JobFolder(JobFolder&& other) noexcept : path_(std::move(other.path_)) { other.path_.clear(); }
  JobFolder& operator=(JobFolder&&) = delete;
  ~JobFolder();

  const std::string& path() const { return path_; }
  /// Where the trainer's results go.
  std::string output() const { return path_ + "/output"; }
  /// Where the agent keeps checkpoints that it has yet to send.
  std::string held() const { return path_ + "/held"; }
  /// A file that tells the trainer to end its training.
  std::string stop_training() const { return path_ + "/stop_training"; }

  /// Returns the file's real path; PERMISSION_DENIED where that is not a regular file inside this folder. What a
  /// trainer names is checked by this before the agent reads it.
  absl::StatusOr<std::string> FileInside(const std::string& path) const;

 private:
  explicit JobFolder(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

/// Removes the folders of runs that ended without cleaning up. Call before the first run, holding the work folder's
/// lock.
absl::Status RemoveLeftoverJobFolders(const std::string& work_folder);

}  // namespace pactory
