// The services that the command line calls, in memory. For its tests.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "pactory/v1/job.grpc.pb.h"
#include "pactory/v1/model.grpc.pb.h"

namespace pactory {

class FakeModelService : public v1::ModelService::Service {
 public:
  grpc::Status CreateModel(grpc::ServerContext*, const v1::CreateModelRequest* request, v1::Model* response) override {
    absl::MutexLock lock(&mutex_);
    v1::Model& model = models_[request->request_id()];
    if (model.name().empty()) {
      if (!has_blob) {
        has_blob = true;
        return grpc::Status(grpc::StatusCode::NOT_FOUND, "blob not found");
      }
      model = request->model();
      model.set_name("models/5f0e8f6a-9c1d-4c8e-9a51-0d3c5a0f7a11");
    }
    *response = model;
    return grpc::Status::OK;
  }
  grpc::Status GetModel(grpc::ServerContext*, const v1::GetModelRequest* request, v1::Model*) override {
    google::rpc::BadRequest bad_request;
    bad_request.add_field_violations()->set_field("name");
    bad_request.mutable_field_violations(0)->set_description("must be models/{id}: " + request->name());
    google::rpc::Status details;
    details.add_details()->PackFrom(bad_request);
    return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "bad", details.SerializeAsString());
  }

  bool has_blob = false;

 private:
  absl::Mutex mutex_;
  std::map<std::string, v1::Model> models_;
};

// Watches are cut after each event, so that every event but the first comes over a resumed stream.
class FakeJobService : public v1::JobService::Service {
 public:
  grpc::Status WatchJob(grpc::ServerContext*, const v1::WatchJobRequest* request,
                        grpc::ServerWriter<v1::WatchJobResponse>* writer) override {
    absl::MutexLock lock(&mutex_);
    asked_after.push_back(request->after_sequence());
    const size_t next = request->after_sequence();
    if (next >= events.size()) return grpc::Status(grpc::StatusCode::NOT_FOUND, "no such job: " + request->name());
    writer->Write(events[next]);
    return next + 1 == events.size() ? grpc::Status::OK : grpc::Status(grpc::StatusCode::UNAVAILABLE, "restarting");
  }
  grpc::Status CreateJob(grpc::ServerContext*, const v1::CreateJobRequest* request, v1::Job* response) override {
    absl::MutexLock lock(&mutex_);
    created.push_back(*request);
    if (created.size() <= failures) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "restarting");
    *response = request->job();
    response->set_name("jobs/1");
    return grpc::Status::OK;
  }

  grpc::Status GetJob(grpc::ServerContext*, const v1::GetJobRequest* request, v1::Job* response) override {
    absl::MutexLock lock(&mutex_);
    *response = stored;
    response->set_name(request->name());
    return grpc::Status::OK;
  }
  grpc::Status StopTraining(grpc::ServerContext*, const v1::StopTrainingRequest* request, v1::Job* response) override {
    absl::MutexLock lock(&mutex_);
    stored.set_stop_training_requested(true);
    *response = stored;
    response->set_name(request->name());
    return grpc::Status::OK;
  }
  grpc::Status ListArtifacts(grpc::ServerContext*, const v1::ListArtifactsRequest* request,
                             v1::ListArtifactsResponse* response) override {
    absl::MutexLock lock(&mutex_);
    for (const auto& [file, sha256] : files[request->parent()]) {
      v1::Artifact& artifact = *response->add_artifacts();
      artifact.set_name(request->parent() + "/artifacts/" + file);
      artifact.set_blob("blobs/" + sha256);
    }
    return grpc::Status::OK;
  }

  // What GetJob gives, under the name that is asked for.
  v1::Job stored;
  // Sums of the files by job and name.
  std::map<std::string, std::map<std::string, std::string>> files;
  std::vector<v1::WatchJobResponse> events;
  std::vector<int64_t> asked_after;
  std::vector<v1::CreateJobRequest> created;
  size_t failures = 0;

 private:
  absl::Mutex mutex_;
};

}  // namespace pactory
