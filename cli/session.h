// A connection of one command to the server: its stubs, and calls that bear a restart of the server. Not thread-safe.
#pragma once

#include <grpcpp/channel.h>

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "cli/client_settings.h"
#include "client/blob_transfer.h"
#include "client/rpc_status.h"
#include "client/retry.h"
#include "pactory/v1/blob.grpc.pb.h"
#include "pactory/v1/dataset.grpc.pb.h"
#include "pactory/v1/job.grpc.pb.h"
#include "pactory/v1/model.grpc.pb.h"
#include "pactory/v1/status.grpc.pb.h"

namespace pactory {

/// Stubs of all services a user may call.
class Session {
 public:
  /// Prepares a session; the first call connects.
  static absl::StatusOr<std::unique_ptr<Session>> Open(const ClientFlags& flags);

  v1::ModelService::Stub& models() { return *models_; }
  v1::DatasetService::Stub& datasets() { return *datasets_; }
  v1::JobService::Stub& jobs() { return *jobs_; }
  v1::StatusService::Stub& status() { return *status_; }

  /// Calls a unary method; a call that the server can't answer now is repeated. A server that never answered is given
  /// up after seconds, one that did after the patience of the flags. Only for calls that may be repeated.
  template <typename Stub, typename Request, typename Response>
  absl::StatusOr<Response> Call(Stub& stub,
                                grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                                const Request& request) {
    Response response;
    const absl::Status status = Repeat([&](grpc::ClientContext& context) {
      return FromGrpcStatus((stub.*method)(&context, request, &response));
    });
    if (!status.ok()) return status;
    return response;
  }

  /// Calls a list method page by page; `take` gets every page in order.
  template <typename Stub, typename Request, typename Response, typename Take>
  absl::Status CallPages(Stub& stub, grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                         Request request, const Take& take) {
    do {
      absl::StatusOr<Response> page = Call(stub, method, request);
      if (!page.ok()) return page.status();
      take(*page);
      request.set_page_token(page->next_page_token());
    } while (!request.page_token().empty());
    return absl::OkStatus();
  }

  /// Circumstances of a blob's transfer.
  BlobTransfer Transfer();

  /// How long a server that went away is waited for.
  absl::Duration patience() const { return reached_ ? patience_ : first_patience_; }

  /// Remembers that the server answered, and turns UNAVAILABLE into words that help.
  absl::Status Noted(const absl::Status& status);

  const std::string& token() const { return address_.token; }
  Cancellation& cancellation() { return cancellation_; }

 private:
  Session(ServerAddress address, std::shared_ptr<grpc::Channel> channel, absl::Duration patience);
  absl::Status Repeat(const std::function<absl::Status(grpc::ClientContext&)>& call);

  const ServerAddress address_;
  const absl::Duration patience_;
  const absl::Duration first_patience_;
  bool reached_ = false;
  Cancellation cancellation_;
  std::unique_ptr<v1::ModelService::Stub> models_;
  std::unique_ptr<v1::DatasetService::Stub> datasets_;
  std::unique_ptr<v1::JobService::Stub> jobs_;
  std::unique_ptr<v1::StatusService::Stub> status_;
  std::unique_ptr<v1::BlobService::Stub> blobs_;
};

}  // namespace pactory
