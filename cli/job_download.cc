#include "cli/job_download.h"

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/error.h"
#include "base/ids.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "cli/output.h"
#include "cli/progress_line.h"
#include "client/blob_download.h"

namespace pactory {

absl::StatusOr<std::vector<v1::Artifact>> ListAllArtifacts(Session& session, const std::string& job) {
  std::vector<v1::Artifact> artifacts;
  v1::ListArtifactsRequest request;
  request.set_parent(job);
  request.set_page_size(1000);
  PACTORY_RETURN_IF_ERROR(session.CallPages(
      session.jobs(), &v1::JobService::Stub::ListArtifacts, request, [&artifacts](const auto& page) {
        artifacts.insert(artifacts.end(), page.artifacts().begin(), page.artifacts().end());
      }));
  return artifacts;
}

absl::StatusOr<std::string> FileNameOf(const v1::Artifact& artifact) {
  const std::string name = artifact.name().substr(artifact.name().rfind('/') + 1);
  if (name.empty() || name == "." || name == "..") {
    return absl::InvalidArgumentError(absl::StrCat("the artifact's name is no file name: ", artifact.name()));
  }
  return name;
}

absl::StatusOr<std::vector<std::string>> DownloadArtifacts(Session& session, const std::vector<v1::Artifact>& artifacts,
                                                           const std::string& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return absl::InvalidArgumentError(absl::StrCat(folder, ": the folder can't be made: ", error.message()));
  std::vector<std::string> paths;
  for (const v1::Artifact& artifact : artifacts) {
    PACTORY_ASSIGN_OR_RETURN(const std::string name, FileNameOf(artifact));
    const std::string path = absl::StrCat(folder, "/", name);
    paths.push_back(path);
    const auto present = Sha256HexOfFile(path);
    if (present.ok() && *present == IdOf("blobs", artifact.blob())) continue;
    ProgressLine line;
    BlobTransfer transfer = session.Transfer();
    transfer.on_progress = [&](int64_t done, int64_t total) {
      const double fraction = total > 0 ? static_cast<double>(done) / static_cast<double>(total) : 1;
      line.Update(absl::StrFormat("download %s %s %3.0f%% %s of %s", name, Bar(fraction, 20), fraction * 100,
                                  SizeText(done), SizeText(total)));
    };
    PACTORY_RETURN_IF_ERROR(
        Prefixed(session.Noted(DownloadBlob(transfer, artifact.blob(), path)), absl::StrCat(path, ": ")));
    line.Keep(absl::StrFormat("downloaded %s, %s", path, SizeText(artifact.size_bytes())));
  }
  return paths;
}

}  // namespace pactory
