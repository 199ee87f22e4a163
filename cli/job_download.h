// Published files of a job, to a folder. Used by `jobs download`, `jobs artifacts` and `run`. Stateless.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/session.h"
#include "pactory/v1/job.pb.h"

namespace pactory {

/// Returns all published artifacts of `jobs/{id}`.
absl::StatusOr<std::vector<v1::Artifact>> ListAllArtifacts(Session& session, const std::string& job);

/// File name of an artifact: the last part of its name. INVALID_ARGUMENT where that is no plain file name.
absl::StatusOr<std::string> FileNameOf(const v1::Artifact& artifact);

/// Downloads artifacts to `folder`, which is made where it is missing. Files that are there already, whole, are left as
/// they are. Returns the paths.
absl::StatusOr<std::vector<std::string>> DownloadArtifacts(Session& session, const std::vector<v1::Artifact>& artifacts,
                                                           const std::string& folder);

}  // namespace pactory
