#include "client/blob_upload.h"

#include <sys/stat.h>

#include <algorithm>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "client/backoff.h"
#include "client/rpc_status.h"
#include "client/server_address.h"

namespace pactory {
namespace {

constexpr int64_t kPieceBytes = 1 << 20;
constexpr absl::Duration kQueryTimeout = absl::Seconds(15);

absl::StatusOr<v1::QueryWriteStatusResponse> QueryUpload(const BlobTransfer& transfer, const std::string& upload_id) {
  grpc::ClientContext context;
  PrepareCall(transfer.token, kQueryTimeout, context);
  Cancellation::Scope scope(transfer.cancellation, context);
  v1::QueryWriteStatusRequest request;
  request.set_upload_id(upload_id);
  if (transfer.lease) *request.mutable_lease() = *transfer.lease;
  v1::QueryWriteStatusResponse response;
  const absl::Status status = FromGrpcStatus(transfer.stub.QueryWriteStatus(&context, request, &response));
  if (absl::IsNotFound(status)) return v1::QueryWriteStatusResponse();
  PACTORY_RETURN_IF_ERROR(status);
  return response;
}

// One stream, from `offset` to the end or the first trouble. Returns what the server answered.
absl::StatusOr<v1::WriteResponse> WriteFrom(const BlobTransfer& transfer, const FileContent& file,
                                            const std::string& upload_id, int64_t offset) {
  std::ifstream input(file.path, std::ios::binary);
  input.seekg(offset);
  if (!input) return absl::InvalidArgumentError(absl::StrCat(file.path, ": the file can't be read any more"));
  grpc::ClientContext context;
  PrepareCall(transfer.token, absl::InfiniteDuration(), context);
  Cancellation::Scope scope(transfer.cancellation, context);
  v1::WriteResponse response;
  auto stream = transfer.stub.Write(&context, &response);
  v1::WriteRequest request;
  request.set_upload_id(upload_id);
  request.set_sha256(file.sha256);
  request.set_size_bytes(file.size_bytes);
  if (transfer.lease) *request.mutable_lease() = *transfer.lease;
  while (true) {
    const int64_t bytes = std::min(kPieceBytes, file.size_bytes - offset);
    std::string& data = *request.mutable_data();
    data.resize(bytes);
    if (bytes > 0 && !input.read(data.data(), bytes)) {
      context.TryCancel();
      stream->Finish().error_code();
      return absl::InvalidArgumentError(
          absl::StrCat(file.path, ": the file must not change during the upload: it became shorter"));
    }
    request.set_write_offset(offset);
    request.set_finish_write(offset + bytes == file.size_bytes);
    // A refused write means the server ended the stream: with an error, or because it has the blob already.
    if (!stream->Write(request)) break;
    offset += bytes;
    if (transfer.on_progress) transfer.on_progress(offset, file.size_bytes);
    if (request.finish_write()) break;
    request.Clear();
  }
  stream->WritesDone();
  PACTORY_RETURN_IF_ERROR(FromGrpcStatus(stream->Finish()));
  return response;
}

}  // namespace

absl::StatusOr<FileContent> ExamineFile(const std::string& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) {
    return absl::NotFoundError(absl::StrCat(path, ": no such file; check the path"));
  }
  if (!S_ISREG(info.st_mode)) return absl::InvalidArgumentError(absl::StrCat(path, ": must be a regular file"));
  FileContent file{path, "", info.st_size};
  PACTORY_ASSIGN_OR_RETURN(file.sha256, Sha256HexOfFile(path));
  return file;
}

std::string StableUploadId(const std::string& sha256) {
  std::string hex = Sha256Hex(absl::StrCat("pactory upload ", sha256));
  // The version and variant digits of a name-based UUID (RFC 9562, version 8: made by the application).
  hex[12] = '8';
  hex[16] = 'a';
  return absl::StrFormat("%s-%s-%s-%s-%s", hex.substr(0, 8), hex.substr(8, 4), hex.substr(12, 4), hex.substr(16, 4),
                         hex.substr(20, 12));
}

absl::StatusOr<std::string> UploadBlob(const BlobTransfer& transfer, const FileContent& file,
                                       const std::string& upload_id) {
  const std::string name = absl::StrCat("blobs/", file.sha256);
  Backoff backoff;
  absl::Time last_progress = absl::Now();
  int64_t committed = 0;
  while (true) {
    absl::Status trouble;
    auto before = QueryUpload(transfer, upload_id);
    if (before.ok()) {
      if (before->committed_size() > committed) {
        committed = before->committed_size();
        last_progress = absl::Now();
        backoff.Reset();
      }
      if (transfer.on_progress) transfer.on_progress(before->committed_size(), file.size_bytes);
      if (before->complete()) return name;
      auto written = WriteFrom(transfer, file, upload_id, std::min(before->committed_size(), file.size_bytes));
      if (written.ok()) {
        if (!written->blob().empty()) {
          if (transfer.on_progress) transfer.on_progress(file.size_bytes, file.size_bytes);
          return written->blob();
        }
        // The stream ended early but in order: what it stored is asked for, and the rest follows.
        trouble = absl::UnavailableError(
            absl::StrCat("the server ended the upload early: committed_size=", written->committed_size()));
      } else {
        trouble = written.status();
      }
    } else {
      trouble = before.status();
    }
    if (transfer.cancellation.cancelled()) return absl::CancelledError("upload cancelled");
    // OUT_OF_RANGE: another process uploads the same content; its progress is ours.
    if (!IsTransient(trouble) && !absl::IsOutOfRange(trouble)) return trouble;
    if (absl::Now() - last_progress > transfer.patience) return trouble;
    if (transfer.cancellation.WaitFor(backoff.Next())) return absl::CancelledError("upload cancelled");
  }
}

}  // namespace pactory
