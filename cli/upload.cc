#include "cli/upload.h"

#include <filesystem>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "base/error.h"
#include "base/ids.h"
#include "base/status_macros.h"
#include "cli/output.h"
#include "cli/progress_line.h"
#include "client/blob_upload.h"

namespace pactory {
namespace {

constexpr size_t kMaxDisplayName = 63;

std::string DisplayNameOf(const std::string& path, const std::string& display_name) {
  std::string name = display_name.empty() ? std::filesystem::path(path).filename().string() : display_name;
  if (name.size() > kMaxDisplayName) {
    name.resize(kMaxDisplayName);
    // Not in the middle of a character.
    while (!name.empty() && (static_cast<unsigned char>(name.back()) & 0xc0) == 0x80) name.pop_back();
    if (!name.empty() && static_cast<unsigned char>(name.back()) >= 0xc0) name.pop_back();
  }
  return name;
}

absl::Status UploadFile(Session& session, const FileContent& file) {
  ProgressLine line;
  const std::string name = std::filesystem::path(file.path).filename().string();
  const absl::Time start = absl::Now();
  int64_t first = -1;
  BlobTransfer transfer = session.Transfer();
  transfer.on_progress = [&](int64_t done, int64_t total) {
    if (first < 0) first = done;
    const double fraction = total > 0 ? static_cast<double>(done) / static_cast<double>(total) : 1;
    const double rate = static_cast<double>(done - first) / std::max(0.001, absl::ToDoubleSeconds(absl::Now() - start));
    const std::string eta =
        rate > 0 ? absl::StrCat("ETA ", DurationText(absl::Seconds(static_cast<double>(total - done) / rate))) : "";
    line.Update(absl::StrFormat("upload %s %s %3.0f%% %s of %s, %s/s %s", name, Bar(fraction, 20), fraction * 100,
                                SizeText(done), SizeText(total), SizeText(static_cast<int64_t>(rate)), eta));
  };
  const auto blob = UploadBlob(transfer, file, StableUploadId(file.sha256));
  PACTORY_RETURN_IF_ERROR(Prefixed(session.Noted(blob.status()), absl::StrCat(file.path, ": ")));
  line.Keep(
      absl::StrFormat("uploaded %s, %s in %s", name, SizeText(file.size_bytes), DurationText(absl::Now() - start)));
  return absl::OkStatus();
}

// The resource first, by a request id made of its content: one that exists already is found without sending a byte.
// Where the server lacks the blob, the file is sent and the resource asked for again.
template <typename Create>
auto CreateFromFile(Session& session, const FileContent& file, const Create& create) -> decltype(create()) {
  auto existing = create();
  if (existing.ok()) return existing;
  if (!absl::IsNotFound(existing.status()) && !absl::IsFailedPrecondition(existing.status())) {
    return Prefixed(existing.status(), absl::StrCat(file.path, ": "));
  }
  PACTORY_RETURN_IF_ERROR(UploadFile(session, file));
  auto made = create();
  if (!made.ok()) return Prefixed(made.status(), absl::StrCat(file.path, ": "));
  return made;
}

absl::StatusOr<FileContent> ExamineInput(const std::string& path, absl::string_view what) {
  auto file = ExamineFile(path);
  if (absl::IsNotFound(file.status())) {
    return absl::NotFoundError(absl::StrCat(path, ": no such file; give a file or ", what, "/ID"));
  }
  PACTORY_RETURN_IF_ERROR(file.status());
  if (file->size_bytes == 0) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": the file is empty; check how it was written"));
  }
  return file;
}

}  // namespace

absl::StatusOr<v1::Dataset::Format> DatasetFormatOf(const std::string& path, const std::string& format) {
  const std::string word = format.empty() ? absl::AsciiStrToLower(path) : absl::StrCat(".", format);
  if (absl::EndsWith(word, ".npz")) return v1::Dataset::NPZ;
  if (absl::EndsWith(word, ".tar")) return v1::Dataset::TAR;
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": the format can't be told from the suffix; give --format npz or --format tar"));
}

absl::StatusOr<v1::Model> UploadModel(Session& session, const std::string& path, const std::string& display_name) {
  PACTORY_ASSIGN_OR_RETURN(const FileContent file, ExamineInput(path, "models"));
  v1::CreateModelRequest request;
  request.mutable_model()->set_display_name(DisplayNameOf(path, display_name));
  request.mutable_model()->set_blob(absl::StrCat("blobs/", file.sha256));
  request.set_request_id(StableUploadId(absl::StrCat("model ", file.sha256, request.model().display_name())));
  return CreateFromFile(session, file,
                        [&] { return session.Call(session.models(), &v1::ModelService::Stub::CreateModel, request); });
}

absl::StatusOr<v1::Dataset> UploadDataset(Session& session, const std::string& path, const std::string& format,
                                          const std::string& display_name) {
  PACTORY_ASSIGN_OR_RETURN(const FileContent file, ExamineInput(path, "datasets"));
  v1::CreateDatasetRequest request;
  v1::Dataset& dataset = *request.mutable_dataset();
  PACTORY_ASSIGN_OR_RETURN(const v1::Dataset::Format parsed, DatasetFormatOf(path, format));
  dataset.set_format(parsed);
  dataset.set_display_name(DisplayNameOf(path, display_name));
  dataset.set_blob(absl::StrCat("blobs/", file.sha256));
  request.set_request_id(
      StableUploadId(absl::StrCat("dataset ", file.sha256, v1::Dataset::Format_Name(parsed), dataset.display_name())));
  return CreateFromFile(session, file, [&] {
    return session.Call(session.datasets(), &v1::DatasetService::Stub::CreateDataset, request);
  });
}

absl::StatusOr<std::string> ModelNameOf(Session& session, const std::string& file_or_name) {
  if (IsUuid(IdOf("models", file_or_name))) return file_or_name;
  PACTORY_ASSIGN_OR_RETURN(const v1::Model model, UploadModel(session, file_or_name, ""));
  return model.name();
}

absl::StatusOr<std::string> DatasetNameOf(Session& session, const std::string& file_or_name) {
  if (IsUuid(IdOf("datasets", file_or_name))) return file_or_name;
  PACTORY_ASSIGN_OR_RETURN(const v1::Dataset dataset, UploadDataset(session, file_or_name, "", ""));
  return dataset.name();
}

}  // namespace pactory
