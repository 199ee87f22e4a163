#include "server/worker_service.h"

#include <set>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "server/lease_poll.h"
#include "server/request_fields.h"

namespace pactory {
namespace {

constexpr Method kRegister = {"WorkerService/RegisterWorker", Access::kWorker};
constexpr Method kHeartbeat = {"WorkerService/Heartbeat", Access::kWorker, Traffic::kFrequent};
constexpr Method kReportMetrics = {"WorkerService/ReportMetrics", Access::kWorker, Traffic::kFrequent};
constexpr Method kCommitCheckpoint = {"WorkerService/CommitCheckpoint", Access::kWorker};
constexpr Method kFinish = {"WorkerService/FinishJob", Access::kWorker};
constexpr Method kRelease = {"WorkerService/ReleaseJob", Access::kWorker};

constexpr int kMaxMetrics = 1000;
constexpr int kMaxMetricName = 256;
constexpr int kMaxArtifacts = 1000;
constexpr int kMaxFileName = 255;
constexpr int kMaxErrorMessage = 4000;

// A published file's name becomes a file of the one who downloads it: nothing in it may lead elsewhere.
absl::Status CheckArtifact(const std::string& field, const v1::Artifact& artifact, std::set<std::string>& names) {
  const std::string& name = artifact.name();
  PACTORY_RETURN_IF_ERROR(CheckText(field + ".name", name, kMaxFileName));
  if (name.empty() || name == "." || name == ".." || absl::StrContains(name, "/") || absl::StrContains(name, "\\")) {
    return InvalidField(field + ".name", absl::StrCat("must be a file name without a folder: ", name));
  }
  if (!names.insert(name).second) return InvalidField(field + ".name", absl::StrCat("must be there once: ", name));
  PACTORY_RETURN_IF_ERROR(ParseBlobName(field + ".blob", artifact.blob()).status());
  return CheckText(field + ".media_type", artifact.media_type(), kMaxFileName);
}

absl::Status CheckArtifacts(const std::string& field,
                            const google::protobuf::RepeatedPtrField<v1::Artifact>& artifacts) {
  if (artifacts.size() > kMaxArtifacts) {
    return InvalidField(field, absl::StrCat("must be at most ", kMaxArtifacts, ": ", artifacts.size()));
  }
  std::set<std::string> names;
  for (const v1::Artifact& artifact : artifacts) PACTORY_RETURN_IF_ERROR(CheckArtifact(field, artifact, names));
  return absl::OkStatus();
}

// A trainer's last words may hold anything; what is stored is text of bounded length.
std::string PlainText(absl::string_view text) {
  std::string plain(text.substr(0, kMaxErrorMessage));
  for (char& c : plain) {
    if (c == '\0') c = ' ';
  }
  while (text.size() > kMaxErrorMessage && !plain.empty() && (static_cast<unsigned char>(plain.back()) & 0x80) != 0)
    plain.pop_back();
  return plain;
}

absl::Status CheckFinish(const v1::FinishJobRequest& request) {
  if (request.outcome_case() == v1::FinishJobRequest::OUTCOME_NOT_SET) {
    return InvalidField("outcome", "must be succeeded, failed or cancelled");
  }
  if (request.has_failed() && request.failed().reason().empty()) return InvalidField("failed.reason", "must be set");
  if (request.has_failed()) PACTORY_RETURN_IF_ERROR(CheckText("failed.reason", request.failed().reason(), 63));
  if (!request.has_failed() && !request.failed_artifacts().empty()) {
    return InvalidField("failed_artifacts", "must be empty but for `failed`");
  }
  PACTORY_RETURN_IF_ERROR(CheckArtifacts("succeeded.artifacts", request.succeeded().artifacts()));
  return CheckArtifacts("failed_artifacts", request.failed_artifacts());
}

void SetDuration(absl::Duration duration, google::protobuf::Duration& proto) {
  proto.set_seconds(absl::ToInt64Seconds(duration));
  proto.set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(duration % absl::Seconds(1))));
}

}  // namespace

grpc::ServerUnaryReactor* WorkerService::RegisterWorker(grpc::CallbackServerContext* grpc_context,
                                                        const v1::RegisterWorkerRequest* request,
                                                        v1::RegisterWorkerResponse* response) {
  return RunUnary(context_, grpc_context, kRegister, [=, this](const Call&) -> absl::Status {
    const std::string name = absl::StrCat("workers/", request->worker_id());
    PACTORY_ASSIGN_OR_RETURN(const std::string id, ParseName("worker_id", "workers", name));
    PACTORY_RETURN_IF_ERROR(CheckText("worker.display_name", request->worker().display_name(), 255));
    PACTORY_RETURN_IF_ERROR(parts_.workers->Register(id, request->worker()));
    response->set_name(absl::StrCat("workers/", id));
    SetDuration(parts_.heartbeat_interval, *response->mutable_heartbeat_interval());
    SetDuration(parts_.leases->term(), *response->mutable_lease_duration());
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* WorkerService::LeaseJob(grpc::CallbackServerContext* grpc_context,
                                                  const v1::LeaseJobRequest* request, v1::LeaseJobResponse* response) {
  return StartLeasePoll(context_, grpc_context, *request, response,
                        {.leases = parts_.leases, .glance = &glance_, .wakeups = parts_.wakeups});
}

grpc::ServerUnaryReactor* WorkerService::Heartbeat(grpc::CallbackServerContext* grpc_context,
                                                   const v1::HeartbeatRequest* request,
                                                   v1::HeartbeatResponse* response) {
  return RunUnary(context_, grpc_context, kHeartbeat, [=, this](const Call&) -> absl::Status {
    PACTORY_ASSIGN_OR_RETURN(const LeaseRef lease, ParseLease(request->lease()));
    PACTORY_ASSIGN_OR_RETURN(*response, parts_.leases->Heartbeat(lease, request->progress()));
    parts_.wakeups->Signal(lease.job_id);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* WorkerService::ReportMetrics(grpc::CallbackServerContext* grpc_context,
                                                       const v1::ReportMetricsRequest* request,
                                                       v1::ReportMetricsResponse*) {
  return RunUnary(context_, grpc_context, kReportMetrics, [=, this](const Call&) -> absl::Status {
    PACTORY_ASSIGN_OR_RETURN(const LeaseRef lease, ParseLease(request->lease()));
    if (request->batch() <= 0) return InvalidField("batch", absl::StrCat("must count up from 1: ", request->batch()));
    if (request->metrics_size() > kMaxMetrics) {
      return InvalidField("metrics", absl::StrCat("must be at most ", kMaxMetrics, ": ", request->metrics_size()));
    }
    for (const v1::Metric& metric : request->metrics()) {
      PACTORY_RETURN_IF_ERROR(CheckText("metrics.name", metric.name(), kMaxMetricName));
      if (metric.name().empty()) return InvalidField("metrics.name", "must be set");
    }
    PACTORY_RETURN_IF_ERROR(parts_.metrics->Append(lease, *request));
    parts_.wakeups->Signal(lease.job_id);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* WorkerService::CommitCheckpoint(grpc::CallbackServerContext* grpc_context,
                                                          const v1::CommitCheckpointRequest* request,
                                                          v1::CommitCheckpointResponse*) {
  return RunUnary(context_, grpc_context, kCommitCheckpoint, [=, this](const Call&) -> absl::Status {
    PACTORY_ASSIGN_OR_RETURN(const LeaseRef lease, ParseLease(request->lease()));
    PACTORY_ASSIGN_OR_RETURN(const std::string sha256, ParseBlobName("checkpoint.blob", request->checkpoint().blob()));
    if (request->checkpoint().step() < 0) return InvalidField("checkpoint.step", "must not be negative");
    return parts_.leases->CommitCheckpoint(lease, sha256, request->checkpoint().step());
  });
}

grpc::ServerUnaryReactor* WorkerService::FinishJob(grpc::CallbackServerContext* grpc_context,
                                                   const v1::FinishJobRequest* request, v1::FinishJobResponse*) {
  return RunUnary(context_, grpc_context, kFinish, [=, this](const Call&) { return Finish(*request); });
}

absl::Status WorkerService::Finish(const v1::FinishJobRequest& request) {
  PACTORY_ASSIGN_OR_RETURN(const LeaseRef lease, ParseLease(request.lease()));
  PACTORY_RETURN_IF_ERROR(CheckFinish(request));
  v1::FinishJobRequest cleaned = request;
  if (cleaned.has_failed()) cleaned.mutable_failed()->set_message(PlainText(request.failed().message()));
  PACTORY_ASSIGN_OR_RETURN(const FinishedJob finished, parts_.leases->Finish(lease, cleaned));
  if (finished.retried.has_value()) {
    context_.metrics->AddRetry(*finished.retried);
  } else if (finished.state != v1::Job::STATE_UNSPECIFIED) {
    context_.metrics->AddFinishedJob(v1::Job::State_Name(finished.state), finished.ran);
  }
  parts_.wakeups->Signal(lease.job_id);
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* WorkerService::ReleaseJob(grpc::CallbackServerContext* grpc_context,
                                                    const v1::ReleaseJobRequest* request, v1::ReleaseJobResponse*) {
  return RunUnary(context_, grpc_context, kRelease, [=, this](const Call&) -> absl::Status {
    PACTORY_ASSIGN_OR_RETURN(const LeaseRef lease, ParseLease(request->lease()));
    PACTORY_RETURN_IF_ERROR(parts_.leases->Release(lease));
    parts_.wakeups->Signal(lease.job_id);
    parts_.wakeups->BeginTurn(kQueueTopic);
    return absl::OkStatus();
  });
}

}  // namespace pactory
