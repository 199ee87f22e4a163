#include "client/blob_download.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/ids.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "client/backoff.h"
#include "client/rpc_status.h"
#include "client/server_address.h"

namespace pactory {
namespace {

// The unfinished file: written at its end only, so that its size says where to continue.
class PartFile {
 public:
  static absl::StatusOr<PartFile> Open(const std::string& path) {
    PartFile file(path, open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
    if (file.fd_ < 0) return file.Error("can't be opened for writing");
    struct stat info {};
    if (fstat(file.fd_, &info) != 0) return file.Error("can't be examined");
    file.size_ = info.st_size;
    return file;
  }
  PartFile(PartFile&& other) noexcept : path_(std::move(other.path_)), fd_(other.fd_), size_(other.size_) {
    other.fd_ = -1;
  }
  ~PartFile() {
    if (fd_ >= 0) close(fd_);
  }

  int64_t size() const { return size_; }

  absl::Status Append(absl::string_view data) {
    while (!data.empty()) {
      const ssize_t written = write(fd_, data.data(), data.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return Error("can't be written");
      data.remove_prefix(written);
      size_ += written;
    }
    return absl::OkStatus();
  }

  absl::Status Sync() { return fsync(fd_) == 0 ? absl::OkStatus() : Error("can't be written"); }

 private:
  PartFile(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
  absl::Status Error(absl::string_view what) const {
    return absl::InternalError(absl::StrCat(path_, ": the file ", what, ": ", std::strerror(errno)));
  }

  std::string path_;
  int fd_;
  int64_t size_ = 0;
};

// One stream, from the file's end to the blob's end or the first trouble.
absl::Status ReadOn(const BlobTransfer& transfer, absl::string_view blob, PartFile& file) {
  grpc::ClientContext context;
  PrepareCall(transfer.token, absl::InfiniteDuration(), context);
  Cancellation::Scope scope(transfer.cancellation, context);
  v1::ReadRequest request;
  request.set_blob(std::string(blob));
  request.set_read_offset(file.size());
  if (transfer.lease) *request.mutable_lease() = *transfer.lease;
  auto stream = transfer.stub.Read(&context, request);
  v1::ReadResponse response;
  absl::Status local;
  while (local.ok() && stream->Read(&response)) {
    if (response.offset() != file.size() && !response.data().empty()) {
      local = absl::InternalError(absl::StrCat("the server must send the bytes in order: offset=", response.offset(),
                                               " wanted=", file.size()));
    } else {
      local = file.Append(response.data());
      if (transfer.on_progress) transfer.on_progress(file.size(), response.size_bytes());
    }
  }
  if (!local.ok()) context.TryCancel();
  const absl::Status remote = FromGrpcStatus(stream->Finish());
  return local.ok() ? remote : local;
}

// Reads until the server has no more; bears transient errors as long as the patience lasts.
absl::Status ReadAll(const BlobTransfer& transfer, absl::string_view blob, const std::string& part) {
  PACTORY_ASSIGN_OR_RETURN(PartFile file, PartFile::Open(part));
  Backoff backoff;
  absl::Time last_progress = absl::Now();
  while (true) {
    const int64_t before = file.size();
    const absl::Status status = ReadOn(transfer, blob, file);
    if (status.ok()) return file.Sync();
    // OUT_OF_RANGE: the part is longer than the blob; its digest will tell.
    if (absl::IsOutOfRange(status)) return absl::OkStatus();
    if (transfer.cancellation.cancelled()) return absl::CancelledError("download cancelled");
    if (!IsTransient(status)) return status;
    if (file.size() > before) {
      last_progress = absl::Now();
      backoff.Reset();
    }
    if (absl::Now() - last_progress > transfer.patience) return status;
    if (transfer.cancellation.WaitFor(backoff.Next())) return absl::CancelledError("download cancelled");
  }
}

}  // namespace

absl::Status DownloadBlob(const BlobTransfer& transfer, absl::string_view blob, const std::string& path) {
  const std::string sha256 = IdOf("blobs", blob);
  if (!IsSha256Hex(sha256)) return absl::InvalidArgumentError(absl::StrCat("not a blob's name: ", blob));
  const std::string part = path + ".part";
  // A part left by an earlier, broken download may be wrong: a second try starts from nothing.
  for (int attempt = 0; attempt < 2; ++attempt) {
    PACTORY_RETURN_IF_ERROR(ReadAll(transfer, blob, part));
    PACTORY_ASSIGN_OR_RETURN(const std::string actual, Sha256HexOfFile(part));
    if (actual == sha256) {
      if (std::rename(part.c_str(), path.c_str()) == 0) return absl::OkStatus();
      return absl::InternalError(absl::StrCat(path, ": the file can't be put in place: ", std::strerror(errno)));
    }
    std::remove(part.c_str());
  }
  return absl::DataLossError(absl::StrCat("the bytes must have the digest of the blob's name: ", blob));
}

}  // namespace pactory
