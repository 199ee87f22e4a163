#include "cli/session.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace pactory {
namespace {

constexpr absl::Duration kCallTimeout = absl::Seconds(30);
constexpr absl::Duration kFirstPatience = absl::Seconds(4);

}  // namespace

absl::StatusOr<std::unique_ptr<Session>> Session::Open(const ClientFlags& flags) {
  PACTORY_ASSIGN_OR_RETURN(ServerAddress address, FindServer(flags));
  PACTORY_ASSIGN_OR_RETURN(auto channel, OpenChannel(address));
  return std::unique_ptr<Session>(
      new Session(std::move(address), std::move(channel), absl::Seconds(flags.patience_seconds)));
}

Session::Session(ServerAddress address, std::shared_ptr<grpc::Channel> channel, absl::Duration patience)
    : address_(std::move(address)),
      patience_(patience),
      first_patience_(std::min(patience, kFirstPatience)),
      models_(v1::ModelService::NewStub(channel)),
      datasets_(v1::DatasetService::NewStub(channel)),
      jobs_(v1::JobService::NewStub(channel)),
      status_(v1::StatusService::NewStub(channel)),
      blobs_(v1::BlobService::NewStub(channel)) {}

absl::Status Session::Repeat(const std::function<absl::Status(grpc::ClientContext&)>& call) {
  return Noted(RetryTransient(cancellation_, patience(), [&] {
    grpc::ClientContext context;
    PrepareCall(address_.token, reached_ ? kCallTimeout : kFirstPatience + kCallTimeout, context);
    return call(context);
  }));
}

absl::Status Session::Noted(const absl::Status& status) {
  if (!absl::IsUnavailable(status)) {
    reached_ = true;
    return status;
  }
  return absl::UnavailableError(absl::StrCat("server: ", address_.target, " can't be reached (", status.message(),
                                             "); check --server", address_.tls_ca.empty() ? "" : " and --tls-ca",
                                             ", or start one with `pactory local up`",
                                             address_.tls_ca.empty() ? "; one with TLS of its own CA needs --tls-ca" : ""));
}

BlobTransfer Session::Transfer() {
  return BlobTransfer{.stub = *blobs_, .cancellation = cancellation_, .token = address_.token, .patience = patience()};
}

}  // namespace pactory
