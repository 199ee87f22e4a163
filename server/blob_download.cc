#include "server/blob_download.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "server/blob_access.h"
#include "server/request_fields.h"
#include "storage/blob_store.h"

namespace pactory {
namespace {

constexpr Method kRead = {"BlobService/Read", Access::kUserOrLease};

// A step on the thread pool and a write take turns, so one thread at a time is in here.
class BlobDownload final : public grpc::ServerWriteReactor<v1::ReadResponse>,
                           public std::enable_shared_from_this<BlobDownload> {
 public:
  BlobDownload(const CallContext& context, grpc::CallbackServerContext* grpc_context, const v1::ReadRequest& request,
               const BlobParts& parts)
      : context_(context),
        grpc_context_(grpc_context),
        request_(request),
        parts_(parts),
        call_(context, grpc_context, kRead) {}

  // Keeps itself alive until gRPC is done with it.
  void Start() {
    self_ = shared_from_this();
    Schedule();
  }

  void OnWriteDone(bool ok) override {
    if (!ok) return End(absl::CancelledError("the client left"));
    Schedule();
  }

  void OnDone() override { self_.reset(); }

 private:
  void Schedule() {
    const bool queued = context_.threads->TrySubmit([self = shared_from_this()] { self->Step(); });
    if (!queued) End(Overloaded());
  }

  void Step() {
    if (grpc_context_->IsCancelled()) return End(absl::CancelledError("the client left"));
    const absl::Status status = call_.Guard([&]() -> absl::Status {
      if (!blob_.has_value()) PACTORY_RETURN_IF_ERROR(Begin());
      if (next_ == end_ && sent_any_) return absl::OkStatus();
      PACTORY_ASSIGN_OR_RETURN(*message_.mutable_data(), parts_.blobs->ReadSome(*blob_, next_, end_ - next_));
      if (message_.data().empty() && next_ != end_)
        return absl::DataLossError("a stored blob is shorter than its size");
      return absl::OkStatus();
    });
    if (!status.ok() || (next_ == end_ && sent_any_)) return End(status);
    message_.set_offset(next_);
    message_.set_size_bytes(blob_->size_bytes);
    next_ += static_cast<int64_t>(message_.data().size());
    sent_any_ = true;
    context_.metrics->AddBlobBytes("out", message_.data().size());
    StartWrite(&message_);
  }

  absl::Status Begin() {
    PACTORY_RETURN_IF_ERROR(call_.Authenticate());
    PACTORY_ASSIGN_OR_RETURN(const std::string sha256, ParseBlobName("blob", request_.blob()));
    std::optional<v1::LeaseToken> token;
    if (request_.has_lease()) token = request_.lease();
    PACTORY_ASSIGN_OR_RETURN(const BlobOwner owner, FindBlobOwner(call_.caller(), token, *parts_.leases));
    PACTORY_ASSIGN_OR_RETURN(const BlobInfo blob, parts_.blobs->Find(owner.tenant_id, sha256));
    if (request_.read_offset() < 0)
      return InvalidField("read_offset", absl::StrCat("must not be negative: ", request_.read_offset()));
    if (request_.read_offset() > blob.size_bytes) {
      return WithReason(absl::OutOfRangeError(absl::StrCat("read_offset must be within the blob: ",
                                                           request_.read_offset(), " size=", blob.size_bytes)),
                        "OUT_OF_RANGE");
    }
    if (request_.read_limit() < 0)
      return InvalidField("read_limit", absl::StrCat("must not be negative: ", request_.read_limit()));
    next_ = request_.read_offset();
    end_ = blob.size_bytes;
    if (request_.read_limit() > 0 && request_.read_limit() < end_ - next_) end_ = next_ + request_.read_limit();
    blob_ = blob;
    return absl::OkStatus();
  }

  void End(const absl::Status& status) { Finish(call_.End(status)); }

  const CallContext context_;
  grpc::CallbackServerContext* const grpc_context_;
  const v1::ReadRequest request_;
  const BlobParts parts_;
  Call call_;
  std::optional<BlobInfo> blob_;
  int64_t next_ = 0;
  int64_t end_ = 0;
  // An empty blob is one message too: it tells the size.
  bool sent_any_ = false;
  v1::ReadResponse message_;
  std::shared_ptr<BlobDownload> self_;
};

}  // namespace

grpc::ServerWriteReactor<v1::ReadResponse>* StartBlobDownload(const CallContext& context,
                                                              grpc::CallbackServerContext* grpc_context,
                                                              const v1::ReadRequest& request, const BlobParts& parts) {
  auto download = std::make_shared<BlobDownload>(context, grpc_context, request, parts);
  download->Start();
  return download.get();
}

}  // namespace pactory
