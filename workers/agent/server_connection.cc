#include "workers/agent/server_connection.h"

#include <google/protobuf/util/time_util.h>

#include <utility>

#include "base/status_macros.h"
#include "client/rpc_status.h"
#include "client/server_address.h"

namespace pactory {
namespace {

constexpr absl::Duration kCallTimeout = absl::Seconds(15);
// A long poll is given time beyond its wait for the answer to travel.
constexpr absl::Duration kPollMargin = absl::Seconds(10);

template <typename Method, typename Request, typename Response>
absl::Status Call(v1::WorkerService::Stub& stub, Method method, const std::string& token, absl::Duration timeout,
                  Cancellation& stop, const Request& request, Response& response) {
  grpc::ClientContext context;
  PrepareCall(token, timeout, context);
  Cancellation::Scope scope(stop, context);
  return FromGrpcStatus((stub.*method)(&context, request, &response));
}

}  // namespace

ServerConnection::ServerConnection(std::shared_ptr<grpc::Channel> channel, std::string token)
    : worker_(v1::WorkerService::NewStub(channel)),
      blob_(v1::BlobService::NewStub(channel)),
      token_(std::move(token)) {}

absl::StatusOr<v1::RegisterWorkerResponse> ServerConnection::Register(const v1::RegisterWorkerRequest& request,
                                                                      Cancellation& stop) {
  v1::RegisterWorkerResponse response;
  PACTORY_RETURN_IF_ERROR(
      Call(*worker_, &v1::WorkerService::Stub::RegisterWorker, token_, kCallTimeout, stop, request, response));
  return response;
}

absl::StatusOr<std::optional<v1::Lease>> ServerConnection::LeaseJob(const std::string& worker, absl::Duration wait,
                                                                    Cancellation& stop) {
  v1::LeaseJobRequest request;
  request.set_worker(worker);
  *request.mutable_wait() = google::protobuf::util::TimeUtil::MillisecondsToDuration(absl::ToInt64Milliseconds(wait));
  v1::LeaseJobResponse response;
  PACTORY_RETURN_IF_ERROR(
      Call(*worker_, &v1::WorkerService::Stub::LeaseJob, token_, wait + kPollMargin, stop, request, response));
  if (!response.has_lease()) return std::nullopt;
  return std::move(*response.mutable_lease());
}

absl::StatusOr<v1::HeartbeatResponse> ServerConnection::Heartbeat(const v1::HeartbeatRequest& request,
                                                                  absl::Duration timeout, Cancellation& stop) {
  v1::HeartbeatResponse response;
  PACTORY_RETURN_IF_ERROR(
      Call(*worker_, &v1::WorkerService::Stub::Heartbeat, token_, timeout, stop, request, response));
  return response;
}

absl::Status ServerConnection::ReportMetrics(const v1::ReportMetricsRequest& request, Cancellation& stop) {
  v1::ReportMetricsResponse response;
  return Call(*worker_, &v1::WorkerService::Stub::ReportMetrics, token_, kCallTimeout, stop, request, response);
}

absl::Status ServerConnection::CommitCheckpoint(const v1::CommitCheckpointRequest& request, Cancellation& stop) {
  v1::CommitCheckpointResponse response;
  return Call(*worker_, &v1::WorkerService::Stub::CommitCheckpoint, token_, kCallTimeout, stop, request, response);
}

absl::Status ServerConnection::FinishJob(const v1::FinishJobRequest& request, absl::Duration timeout,
                                         Cancellation& stop) {
  v1::FinishJobResponse response;
  return Call(*worker_, &v1::WorkerService::Stub::FinishJob, token_, timeout, stop, request, response);
}

absl::Status ServerConnection::ReleaseJob(const v1::LeaseToken& lease, absl::Duration timeout, Cancellation& stop) {
  v1::ReleaseJobRequest request;
  *request.mutable_lease() = lease;
  v1::ReleaseJobResponse response;
  return Call(*worker_, &v1::WorkerService::Stub::ReleaseJob, token_, timeout, stop, request, response);
}

BlobTransfer ServerConnection::Transfer(const v1::LeaseToken& lease, Cancellation& stop) const {
  return BlobTransfer{.stub = *blob_,
                      .cancellation = stop,
                      .token = token_,
                      .lease = lease,
                      .patience = absl::InfiniteDuration(),
                      .on_progress = {}};
}

}  // namespace pactory
