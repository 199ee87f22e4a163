#include "tests/load/load_session.h"

#include <grpcpp/grpcpp.h>

#include "base/ids.h"

namespace pactory {
namespace {

std::shared_ptr<grpc::Channel> OwnChannel(const std::string& server) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  // After a kill the server is back within a second, and an attempt that a proxy swallows is given up as soon.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 500);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  return grpc::CreateCustomChannel(server, grpc::InsecureChannelCredentials(), arguments);
}

}  // namespace

LoadSession::LoadSession(const LoadTarget& target) : target_(target) {
  const std::shared_ptr<grpc::Channel> channel = OwnChannel(target.server);
  jobs_ = v1::JobService::NewStub(channel);
  workers_ = v1::WorkerService::NewStub(channel);
}

v1::CreateJobRequest LoadSession::JobRequest(const std::string& request_id) const {
  v1::CreateJobRequest request;
  request.set_request_id(request_id);
  v1::JobSpec& spec = *request.mutable_job()->mutable_spec();
  spec.set_model(target_.model);
  spec.set_train_dataset(target_.data);
  spec.set_eval_dataset(target_.eval_data);
  spec.set_max_attempts(20);
  spec.mutable_stall()->set_seconds(12);
  if (target_.training_seed != 0) spec.mutable_config()->mutable_training()->set_seed(target_.training_seed);
  return request;
}

absl::StatusOr<v1::Job> LoadSession::CreateJob(const v1::CreateJobRequest& request) {
  v1::Job job;
  const absl::Status status = Call(*jobs_, &v1::JobService::Stub::CreateJob, target_.user_token, request, job);
  if (!status.ok()) return status;
  return job;
}

absl::StatusOr<v1::Job> LoadSession::CancelJob(const std::string& name) {
  v1::CancelJobRequest request;
  request.set_name(name);
  v1::Job job;
  const absl::Status status = Call(*jobs_, &v1::JobService::Stub::CancelJob, target_.user_token, request, job);
  if (!status.ok()) return status;
  return job;
}

absl::Status LoadSession::Register() {
  v1::RegisterWorkerRequest request;
  request.set_worker_id(NewUuid());
  request.mutable_worker()->set_display_name("load");
  v1::RegisterWorkerResponse response;
  const absl::Status status =
      Call(*workers_, &v1::WorkerService::Stub::RegisterWorker, target_.worker_token, request, response);
  worker_ = response.name();
  return status;
}

absl::StatusOr<v1::LeaseJobResponse> LoadSession::LeaseJob(absl::Duration wait) {
  v1::LeaseJobRequest request;
  request.set_worker(worker_);
  request.mutable_wait()->set_seconds(absl::ToInt64Seconds(wait));
  v1::LeaseJobResponse response;
  const absl::Status status =
      Call(*workers_, &v1::WorkerService::Stub::LeaseJob, target_.worker_token, request, response);
  if (!status.ok()) return status;
  return response;
}

absl::Status LoadSession::Heartbeat(const v1::LeaseToken& lease, int64_t step) {
  v1::HeartbeatRequest request;
  *request.mutable_lease() = lease;
  request.mutable_progress()->set_stage("train");
  request.mutable_progress()->set_step(step);
  v1::HeartbeatResponse response;
  return Call(*workers_, &v1::WorkerService::Stub::Heartbeat, target_.worker_token, request, response);
}

absl::Status LoadSession::Succeed(const v1::LeaseToken& lease) {
  v1::FinishJobRequest request;
  *request.mutable_lease() = lease;
  request.mutable_succeeded();
  v1::FinishJobResponse response;
  return Call(*workers_, &v1::WorkerService::Stub::FinishJob, target_.worker_token, request, response);
}

}  // namespace pactory
