#include "server/blob_upload.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/ids.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "server/blob_access.h"
#include "storage/blob_store.h"

namespace pactory {
namespace {

constexpr Method kWrite = {"BlobService/Write", Access::kUserOrLease};

constexpr size_t kMaxMessageData = 2 << 20;

absl::Status WrongOffset(int64_t offset, int64_t expected) {
  return WithReason(absl::AbortedError(absl::StrCat(
                        "write_offset must follow what is stored; ask QueryWriteStatus and go on from there: "
                        "write_offset=",
                        offset, " expected=", expected)),
                    "WRONG_OFFSET");
}

// A read and a step on the thread pool take turns, so one thread at a time is in here.
class BlobUpload final : public grpc::ServerReadReactor<v1::WriteRequest>,
                         public std::enable_shared_from_this<BlobUpload> {
 public:
  BlobUpload(const CallContext& context, grpc::CallbackServerContext* grpc_context, v1::WriteResponse* response,
             const BlobParts& parts)
      : context_(context), response_(*response), parts_(parts), call_(context, grpc_context, kWrite) {}

  // Keeps itself alive until gRPC is done with it.
  void Start() {
    self_ = shared_from_this();
    StartRead(&message_);
  }

  void OnReadDone(bool ok) override {
    const bool queued = context_.threads->TrySubmit([self = shared_from_this(), ok] { self->Step(ok); });
    if (!queued) Finish(call_.End(Overloaded()));
  }

  void OnDone() override { self_.reset(); }

 private:
  enum class Progress { kReadOn, kDone };

  void Step(bool has_message) {
    Progress progress = Progress::kDone;
    const absl::Status status = call_.Guard([&]() -> absl::Status {
      if (!has_message) return TakeEnd();
      PACTORY_ASSIGN_OR_RETURN(progress, TakeMessage());
      return absl::OkStatus();
    });
    if (status.ok() && progress == Progress::kReadOn) return StartRead(&message_);
    Finish(call_.End(status));
  }

  // The client stopped, or was cut, without `finish_write`.
  absl::Status TakeEnd() {
    if (!begun_) {
      PACTORY_RETURN_IF_ERROR(call_.Authenticate());
      return InvalidField("upload_id", "must be set in the first message of the stream");
    }
    response_.set_committed_size(stored_);
    return absl::OkStatus();
  }

  absl::StatusOr<Progress> TakeMessage() {
    if (!begun_) {
      PACTORY_ASSIGN_OR_RETURN(const UploadState state, Begin());
      if (state.complete) return AnswerWhole();
    }
    const std::string& data = message_.data();
    if (data.size() > kMaxMessageData)
      return InvalidField("data", absl::StrCat("must be at most 2 MiB: ", data.size()));
    const int64_t taken = stored_ + static_cast<int64_t>(buffer_.size());
    if (message_.write_offset() != taken) return WrongOffset(message_.write_offset(), taken);
    if (static_cast<int64_t>(data.size()) > spec_.size_bytes - taken) {
      return InvalidField(
          "data", absl::StrCat("must end with the blob: size_bytes=", spec_.size_bytes, " got=", taken + data.size()));
    }
    // Before anything is stored: only the last chunk of a blob may be short.
    if (message_.finish_write() && taken + static_cast<int64_t>(data.size()) != spec_.size_bytes) {
      return InvalidField("finish_write", absl::StrCat("must come with the last byte: size_bytes=", spec_.size_bytes,
                                                       " got=", taken + data.size()));
    }
    if (digest_.has_value()) digest_->Update(data);
    buffer_.append(data);
    context_.metrics->AddBlobBytes("in", data.size());
    PACTORY_RETURN_IF_ERROR(StoreChunks(message_.finish_write() ? 1 : kBlobChunkSize));
    if (!message_.finish_write()) return Progress::kReadOn;
    PACTORY_RETURN_IF_ERROR(parts_.blobs->FinishUpload(spec_, digest_.has_value() ? digest_->FinishHex() : ""));
    return AnswerWhole();
  }

  absl::StatusOr<UploadState> Begin() {
    PACTORY_RETURN_IF_ERROR(call_.Authenticate());
    if (!IsUuid(message_.upload_id())) {
      return InvalidField("upload_id", absl::StrCat("must be a UUID: ", message_.upload_id().substr(0, 100)));
    }
    if (!IsSha256Hex(message_.sha256())) return InvalidField("sha256", "must be 64 lower-case hex digits");
    if (message_.size_bytes() < 0 || message_.size_bytes() > parts_.max_bytes) {
      return InvalidField("size_bytes", absl::StrCat("must be 0 to ", parts_.max_bytes, ": ", message_.size_bytes()));
    }
    std::optional<v1::LeaseToken> token;
    if (message_.has_lease()) token = message_.lease();
    PACTORY_ASSIGN_OR_RETURN(BlobOwner owner, FindBlobOwner(call_.caller(), token, *parts_.leases));
    spec_ = {.tenant_id = std::move(owner.tenant_id),
             .upload_id = message_.upload_id(),
             .sha256 = message_.sha256(),
             .size_bytes = message_.size_bytes(),
             .lease = std::move(owner.lease)};
    PACTORY_ASSIGN_OR_RETURN(const UploadState state, parts_.blobs->BeginUpload(spec_));
    stored_ = state.committed_size;
    // A resumed upload is digested from its chunks at the end.
    if (stored_ == 0) digest_.emplace();
    begun_ = true;
    return state;
  }

  // Stores what the buffer holds in whole chunks, and a rest of at least `least` bytes.
  absl::Status StoreChunks(int64_t least) {
    absl::string_view rest = buffer_;
    while (static_cast<int64_t>(rest.size()) >= least && !rest.empty()) {
      const absl::string_view chunk = rest.substr(0, kBlobChunkSize);
      PACTORY_RETURN_IF_ERROR(parts_.blobs->AppendChunk(
          {.tenant_id = spec_.tenant_id, .upload_id = spec_.upload_id, .offset = stored_, .lease = spec_.lease},
          chunk));
      stored_ += static_cast<int64_t>(chunk.size());
      rest.remove_prefix(chunk.size());
    }
    buffer_.erase(0, buffer_.size() - rest.size());
    return absl::OkStatus();
  }

  Progress AnswerWhole() {
    response_.set_committed_size(spec_.size_bytes);
    response_.set_blob(absl::StrCat("blobs/", spec_.sha256));
    return Progress::kDone;
  }

  const CallContext context_;
  v1::WriteResponse& response_;
  const BlobParts parts_;
  Call call_;
  v1::WriteRequest message_;
  bool begun_ = false;
  UploadSpec spec_;
  // Bytes in the database, and those that came after them.
  int64_t stored_ = 0;
  std::string buffer_;
  // Of every byte, where this stream has seen every byte.
  std::optional<Sha256> digest_;
  std::shared_ptr<BlobUpload> self_;
};

}  // namespace

grpc::ServerReadReactor<v1::WriteRequest>* StartBlobUpload(const CallContext& context,
                                                           grpc::CallbackServerContext* grpc_context,
                                                           v1::WriteResponse* response, const BlobParts& parts) {
  auto upload = std::make_shared<BlobUpload>(context, grpc_context, response, parts);
  upload->Start();
  return upload.get();
}

}  // namespace pactory
