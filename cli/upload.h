// Files that become models and datasets on the server; names of such pass through. Used by the upload commands, `run`
// and `jobs submit`. Stateless.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "cli/session.h"
#include "pactory/v1/dataset.pb.h"
#include "pactory/v1/model.pb.h"

namespace pactory {

/// Uploads a file and makes it a model. The same content under the same name gives the model made first, without
/// sending it again. `display_name`: "" for the file's name.
absl::StatusOr<v1::Model> UploadModel(Session& session, const std::string& path, const std::string& display_name);

/// Uploads a file and makes it a dataset, likewise. `format`: `npz`, `tar`, or "" to go by the file's suffix.
absl::StatusOr<v1::Dataset> UploadDataset(Session& session, const std::string& path, const std::string& format,
                                          const std::string& display_name);

/// Returns `models/{id}` as it is; a file is uploaded.
absl::StatusOr<std::string> ModelNameOf(Session& session, const std::string& file_or_name);

/// Returns `datasets/{id}` as it is; a file is uploaded.
absl::StatusOr<std::string> DatasetNameOf(Session& session, const std::string& file_or_name);

/// Returns the format that `format` or the path's suffix says; INVALID_ARGUMENT where neither does.
absl::StatusOr<v1::Dataset::Format> DatasetFormatOf(const std::string& path, const std::string& format);

}  // namespace pactory
