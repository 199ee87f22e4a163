// A WorkerService in memory that hands out the leases it is given and keeps what comes back. For the agent's tests.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "pactory/v1/worker.grpc.pb.h"

namespace pactory {

class FakeWorkerService : public v1::WorkerService::Service {
 public:
  grpc::Status RegisterWorker(grpc::ServerContext* context, const v1::RegisterWorkerRequest* request,
                              v1::RegisterWorkerResponse* response) override {
    absl::MutexLock lock(&mutex_);
    for (const auto& [key, value] : context->client_metadata()) {
      if (key == "authorization") authorization = std::string(value.data(), value.size());
    }
    registered.push_back(*request);
    response->set_name("workers/" + request->worker_id());
    response->mutable_heartbeat_interval()->set_nanos(50 * 1000 * 1000);
    return refuse_registration ? grpc::Status(grpc::StatusCode::UNAUTHENTICATED, "token: not known") : Answer();
  }
  grpc::Status LeaseJob(grpc::ServerContext* context, const v1::LeaseJobRequest* request,
                        v1::LeaseJobResponse* response) override {
    absl::MutexLock lock(&mutex_);
    const absl::Time deadline = absl::Now() + absl::Seconds(request->wait().seconds());
    while (leases.empty() && absl::Now() < deadline && !context->IsCancelled()) {
      mutex_.AwaitWithTimeout(absl::Condition(+[](std::deque<v1::Lease>* l) { return !l->empty(); }, &leases),
                              absl::Milliseconds(50));
    }
    if (away) return Answer();
    if (!leases.empty() && !context->IsCancelled()) {
      *response->mutable_lease() = leases.front();
      leases.pop_front();
    }
    return grpc::Status::OK;
  }
  grpc::Status Heartbeat(grpc::ServerContext*, const v1::HeartbeatRequest* request,
                         v1::HeartbeatResponse* response) override {
    absl::MutexLock lock(&mutex_);
    if (const grpc::Status status = Answer(); !status.ok()) return status;
    heartbeats.push_back(*request);
    response->set_cancel_requested(cancel);
    response->set_release_requested(release);
    response->set_stop_training_requested(stop_training);
    return grpc::Status::OK;
  }
  grpc::Status ReportMetrics(grpc::ServerContext*, const v1::ReportMetricsRequest* request,
                             v1::ReportMetricsResponse*) override {
    absl::MutexLock lock(&mutex_);
    if (const grpc::Status status = Answer(); !status.ok()) return status;
    metrics[request->batch()] = *request;
    return grpc::Status::OK;
  }
  grpc::Status CommitCheckpoint(grpc::ServerContext*, const v1::CommitCheckpointRequest* request,
                                v1::CommitCheckpointResponse*) override {
    absl::MutexLock lock(&mutex_);
    if (const grpc::Status status = Answer(); !status.ok()) return status;
    checkpoints.push_back(*request);
    return grpc::Status::OK;
  }
  grpc::Status FinishJob(grpc::ServerContext*, const v1::FinishJobRequest* request, v1::FinishJobResponse*) override {
    absl::MutexLock lock(&mutex_);
    if (const grpc::Status status = Answer(); !status.ok()) return status;
    if (refuse_artifacts && request->failed_artifacts_size() > 0) {
      return grpc::Status(grpc::StatusCode::FAILED_PRECONDITION, "the blob is gone");
    }
    finished.push_back(*request);
    return grpc::Status::OK;
  }
  grpc::Status ReleaseJob(grpc::ServerContext*, const v1::ReleaseJobRequest* request,
                          v1::ReleaseJobResponse*) override {
    absl::MutexLock lock(&mutex_);
    released.push_back(*request);
    return grpc::Status::OK;
  }

  /// Waits until `condition` holds of this service; returns whether it does.
  bool Await(std::function<bool()> condition) {
    absl::MutexLock lock(&mutex_);
    return mutex_.AwaitWithTimeout(absl::Condition(&condition, &std::function<bool()>::operator()), absl::Seconds(20));
  }
  void Set(std::function<void()> change) {
    absl::MutexLock lock(&mutex_);
    change();
  }

  // Guarded by the mutex that Await and Set hold.
  bool away = false;
  bool lease_lost = false;
  bool cancel = false;
  bool release = false;
  bool stop_training = false;
  bool refuse_registration = false;
  bool refuse_artifacts = false;
  std::string authorization;
  std::deque<v1::Lease> leases;
  std::vector<v1::RegisterWorkerRequest> registered;
  std::vector<v1::HeartbeatRequest> heartbeats;
  std::map<int64_t, v1::ReportMetricsRequest> metrics;
  std::vector<v1::CommitCheckpointRequest> checkpoints;
  std::vector<v1::FinishJobRequest> finished;
  std::vector<v1::ReleaseJobRequest> released;

 private:
  grpc::Status Answer() const {
    if (away) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "away");
    if (!lease_lost) return grpc::Status::OK;
    google::rpc::ErrorInfo info;
    info.set_reason("LEASE_LOST");
    google::rpc::Status details;
    details.add_details()->PackFrom(info);
    return grpc::Status(grpc::StatusCode::ABORTED, "the lease belongs to another worker", details.SerializeAsString());
  }

  absl::Mutex mutex_;
};

}  // namespace pactory
