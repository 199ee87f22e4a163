#include "cli/job_replay.h"

#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "base/ids.h"
#include "base/status_macros.h"
#include "cli/job_download.h"
#include "cli/job_follow.h"
#include "cli/job_text.h"
#include "cli/output.h"
#include "cli/session.h"

namespace pactory {
namespace {

constexpr char kModel[] = "model.int8.onnx";

// A blob's name is its content's sum. NOT_FOUND where the job published no model.
absl::StatusOr<std::string> ModelSha256(Session& session, const std::string& job) {
  PACTORY_ASSIGN_OR_RETURN(const auto artifacts, ListAllArtifacts(session, job));
  const auto model = std::find_if(artifacts.begin(), artifacts.end(), [](const v1::Artifact& artifact) {
    const auto name = FileNameOf(artifact);
    return name.ok() && *name == kModel;
  });
  if (model == artifacts.end()) return absl::NotFoundError(absl::StrCat(job, ": must have published a ", kModel, " to be replayed"));
  return IdOf("blobs", model->blob());
}

// What the length of a training depends on must be in its config.
absl::Status CheckRepeatable(const v1::Job& job) {
  const char* why = job.stop_training_requested()                          ? "its training was stopped (StopTraining)"
                    : job.spec().config().training().max_seconds() > 0     ? "training.max_seconds looks at a clock"
                    : job.spec().config().contract().budget_seconds() > 0 ? "contract.budget_seconds looks at a clock"
                                                                           : nullptr;
  if (why == nullptr) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(job.name(), ": must be repeatable to be replayed: ", why,
                                                  "; `pactory-trainer replay` repeats its manifest.json"));
}

}  // namespace

absl::StatusOr<ExitCode> ReplayJob(const Invocation& invocation, const std::string& job) {
  PACTORY_ASSIGN_OR_RETURN(const auto session, Session::Open(invocation.client));
  v1::GetJobRequest get;
  get.set_name(job);
  PACTORY_ASSIGN_OR_RETURN(const v1::Job original, session->Call(session->jobs(), &v1::JobService::Stub::GetJob, get));
  PACTORY_RETURN_IF_ERROR(CheckRepeatable(original));
  PACTORY_ASSIGN_OR_RETURN(const std::string expected, ModelSha256(*session, job));
  v1::CreateJobRequest create;
  create.mutable_job()->set_display_name(absl::StrCat("replay of ", job));
  *create.mutable_job()->mutable_spec() = original.spec();
  create.set_request_id(NewUuid());
  PACTORY_ASSIGN_OR_RETURN(const v1::Job replay, session->Call(session->jobs(), &v1::JobService::Stub::CreateJob, create));
  std::cerr << replay.name() << std::endl;
  PACTORY_ASSIGN_OR_RETURN(const v1::Job end, FollowJob(*session, replay.name()));
  if (end.state() != v1::Job::SUCCEEDED) {
    if (end.has_error()) std::cerr << "pactory: " << end.error().reason() << ": " << end.error().message() << std::endl;
    return ExitCode::kJobFailed;
  }
  PACTORY_ASSIGN_OR_RETURN(const std::string actual, ModelSha256(*session, replay.name()));
  const bool same = actual == expected;
  if (invocation.output == OutputFormat::kJson) {
    std::cout << nlohmann::json{{"job", job}, {"replay", replay.name()}, {"same", same}, {"sha256", actual}, {"job_sha256", expected}}.dump(2)
              << std::endl;
  } else if (same) {
    std::cout << "same " << kModel << ": sha256=" << actual << std::endl;
  } else {
    std::cout << "another " << kModel << ": sha256=" << actual << " " << job << "=" << expected
              << "; their manifest.json tell what differed: versions, device class, threads" << std::endl;
  }
  return same ? ExitCode::kDone : ExitCode::kJobFailed;
}

}  // namespace pactory
