#include "server/job_service.h"

#include <spdlog/spdlog.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/ids.h"
#include "base/status_macros.h"
#include "server/job_watch.h"
#include "server/request_fields.h"

namespace pactory {
namespace {

constexpr Method kCreateJob = {"JobService/CreateJob", Access::kUser};
constexpr Method kGetJob = {"JobService/GetJob", Access::kUser, Traffic::kFrequent};
constexpr Method kListJobs = {"JobService/ListJobs", Access::kUser, Traffic::kFrequent};
constexpr Method kCancel = {"JobService/CancelJob", Access::kUser};
constexpr Method kStopTraining = {"JobService/StopTraining", Access::kUser};
constexpr Method kListMetrics = {"JobService/ListMetrics", Access::kUser, Traffic::kFrequent};
constexpr Method kListArtifacts = {"JobService/ListArtifacts", Access::kUser, Traffic::kFrequent};

constexpr PageLimits kMetricPages = {.default_size = 1000, .max_size = 10000};

}  // namespace

grpc::ServerUnaryReactor* JobService::CreateJob(grpc::CallbackServerContext* grpc_context,
                                                const v1::CreateJobRequest* request, v1::Job* response) {
  return RunUnary(context_, grpc_context, kCreateJob,
                  [=, this](const Call& call) { return Create(call.caller().tenant_id, *request, *response); });
}

absl::Status JobService::Create(const std::string& tenant_id, const v1::CreateJobRequest& request, v1::Job& response) {
  v1::Job job;
  job.set_display_name(request.job().display_name());
  *job.mutable_spec() = request.job().spec();
  PACTORY_ASSIGN_OR_RETURN(const RequestKey key, MakeRequestKey(request.request_id(), job));
  PACTORY_RETURN_IF_ERROR(CheckText("job.display_name", job.display_name(), kMaxDisplayName));
  const absl::Status admitted = admission_.Complete(tenant_id, *job.mutable_spec());
  if (!admitted.ok() || request.validate_only()) {
    // What was made under this request id stays the answer, whatever became of its model since.
    PACTORY_ASSIGN_OR_RETURN(const std::optional<v1::Job> earlier, jobs_.FindByRequest(tenant_id, key));
    if (!earlier.has_value()) PACTORY_RETURN_IF_ERROR(admitted);
    response = earlier.value_or(job);
    return absl::OkStatus();
  }
  PACTORY_ASSIGN_OR_RETURN(response, jobs_.Create(tenant_id, job, key));
  wakeups_.BeginTurn(kQueueTopic);
  if (!jobs_.WantsAnnouncement()) return absl::OkStatus();
  const auto announce = [&jobs = jobs_] {
    const absl::Status announced = jobs.Announce();
    // Other servers look for themselves before long.
    if (!announced.ok()) spdlog::warn("other servers were not told of new jobs: {}", std::string(announced.message()));
  };
  if (!context_.threads->TrySubmit(announce)) announce();
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* JobService::GetJob(grpc::CallbackServerContext* grpc_context,
                                             const v1::GetJobRequest* request, v1::Job* response) {
  return RunUnary(context_, grpc_context, kGetJob, [=, this](const Call& call) -> absl::Status {
    PACTORY_ASSIGN_OR_RETURN(const std::string id, ParseName("name", "jobs", request->name()));
    PACTORY_ASSIGN_OR_RETURN(*response, jobs_.Get(call.caller().tenant_id, id));
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* JobService::ListJobs(grpc::CallbackServerContext* grpc_context,
                                               const v1::ListJobsRequest* request, v1::ListJobsResponse* response) {
  return RunUnary(context_, grpc_context, kListJobs, [=, this](const Call& call) -> absl::Status {
    PACTORY_ASSIGN_OR_RETURN(const PageRequest page,
                             MakePageRequest(request->page_size(), request->page_token(), PageLimits{}));
    std::vector<v1::Job::State> states;
    for (const int state : request->states()) {
      if (!v1::Job::State_IsValid(state) || state == v1::Job::STATE_UNSPECIFIED) {
        return InvalidField("states", absl::StrCat("must be states of a job: ", state));
      }
      states.push_back(static_cast<v1::Job::State>(state));
    }
    PACTORY_ASSIGN_OR_RETURN(*response, jobs_.List(call.caller().tenant_id, page, states));
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* JobService::CancelJob(grpc::CallbackServerContext* grpc_context,
                                                const v1::CancelJobRequest* request, v1::Job* response) {
  return RunUnary(context_, grpc_context, kCancel, [=, this](const Call& call) -> absl::Status {
    PACTORY_ASSIGN_OR_RETURN(const std::string id, ParseName("name", "jobs", request->name()));
    PACTORY_ASSIGN_OR_RETURN(*response, jobs_.Cancel(call.caller().tenant_id, id));
    wakeups_.Signal(id);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* JobService::StopTraining(grpc::CallbackServerContext* grpc_context,
                                                   const v1::StopTrainingRequest* request, v1::Job* response) {
  return RunUnary(context_, grpc_context, kStopTraining, [=, this](const Call& call) -> absl::Status {
    PACTORY_ASSIGN_OR_RETURN(const std::string id, ParseName("name", "jobs", request->name()));
    PACTORY_ASSIGN_OR_RETURN(*response, jobs_.StopTraining(call.caller().tenant_id, id));
    wakeups_.Signal(id);
    return absl::OkStatus();
  });
}

grpc::ServerWriteReactor<v1::WatchJobResponse>* JobService::WatchJob(grpc::CallbackServerContext* grpc_context,
                                                                     const v1::WatchJobRequest* request) {
  return StartJobWatch(context_, grpc_context, *request, {.jobs = &jobs_, .metrics = &metrics_, .wakeups = &wakeups_});
}

grpc::ServerUnaryReactor* JobService::ListMetrics(grpc::CallbackServerContext* grpc_context,
                                                  const v1::ListMetricsRequest* request,
                                                  v1::ListMetricsResponse* response) {
  return RunUnary(context_, grpc_context, kListMetrics, [=, this](const Call& call) -> absl::Status {
    PACTORY_ASSIGN_OR_RETURN(const std::string id, ParseName("parent", "jobs", request->parent()));
    PACTORY_RETURN_IF_ERROR(CheckText("name_prefix", request->name_prefix(), 256));
    PACTORY_ASSIGN_OR_RETURN(const PageRequest page,
                             MakePageRequest(request->page_size(), request->page_token(), kMetricPages));
    PACTORY_ASSIGN_OR_RETURN(*response, metrics_.List(call.caller().tenant_id, id, page, request->name_prefix()));
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* JobService::ListArtifacts(grpc::CallbackServerContext* grpc_context,
                                                    const v1::ListArtifactsRequest* request,
                                                    v1::ListArtifactsResponse* response) {
  return RunUnary(context_, grpc_context, kListArtifacts, [=, this](const Call& call) -> absl::Status {
    PACTORY_ASSIGN_OR_RETURN(const std::string id, ParseName("parent", "jobs", request->parent()));
    PACTORY_ASSIGN_OR_RETURN(const PageRequest page,
                             MakePageRequest(request->page_size(), request->page_token(), PageLimits{}));
    PACTORY_ASSIGN_OR_RETURN(*response, metrics_.ListArtifacts(call.caller().tenant_id, id, page));
    return absl::OkStatus();
  });
}

}  // namespace pactory
