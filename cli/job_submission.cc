#include "cli/job_submission.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "base/ids.h"
#include "base/status_macros.h"
#include "cli/upload.h"

namespace pactory {

void AddSubmissionFlags(CLI::App& command, JobSubmission& submission) {
  command.add_option("--model", submission.model, "ONNX file, or models/ID")->required();
  command.add_option("--data", submission.data, "Training and calibration data: .npz or .tar file, or datasets/ID")
      ->required();
  command.add_option("--eval-data", submission.eval_data, "Evaluation data, likewise")->required();
  AddConfigFlags(command, submission.config);
  command.add_option("--name", submission.display_name, "Name of the job for people");
  command.add_option("--request-id", submission.request_id,
                     "UUID; the same one with the same content again returns the job made first");
  command.add_option("--priority", submission.priority, "Smaller starts first")->capture_default_str();
  command.add_option("--worker-kind", submission.worker_kind, "Where it may run; default any, or gpu for device=CUDA")
      ->check(CLI::IsMember({"any", "cpu", "gpu"}));
  command.add_option("--memory-gib", submission.memory_gib,
                     "Memory it needs, of the GPU or of a worker without one; 0: not counted")
      ->check(CLI::Range(0, 4096))
      ->capture_default_str();
  command.add_option("--max-attempts", submission.max_attempts,
                     "Attempts that may fail, and workers that may be lost, before the job fails; default 3");
  command.add_option("--deadline-hours", submission.deadline_hours, "Longest time of one attempt; default 24")
      ->check(CLI::Range(0.0, 720.0));
  command.add_option("--stall-minutes", submission.stall_minutes,
                     "Longest time without progress before an attempt counts as failed; default 30")
      ->check(CLI::Range(0.0, 43200.0));
  command.add_flag("--validate-only", submission.validate_only, "Check everything, queue nothing");
}

absl::StatusOr<v1::Job> Submit(Session& session, const JobSubmission& submission) {
  v1::CreateJobRequest request;
  v1::JobSpec& spec = *request.mutable_job()->mutable_spec();
  // Before the uploads, so that a wrong word costs no time.
  PACTORY_ASSIGN_OR_RETURN(*spec.mutable_config(), ReadConfig(submission.config));
  if (!submission.request_id.empty() && !IsUuid(submission.request_id)) {
    return absl::InvalidArgumentError("--request-id: must be a UUID: " + submission.request_id);
  }
  PACTORY_ASSIGN_OR_RETURN(*spec.mutable_model(), ModelNameOf(session, submission.model));
  PACTORY_ASSIGN_OR_RETURN(*spec.mutable_train_dataset(), DatasetNameOf(session, submission.data));
  PACTORY_ASSIGN_OR_RETURN(*spec.mutable_eval_dataset(), DatasetNameOf(session, submission.eval_data));
  spec.set_priority(submission.priority);
  spec.set_max_attempts(submission.max_attempts);
  v1::Resources::WorkerKind kind = v1::Resources::WORKER_KIND_UNSPECIFIED;
  v1::Resources::WorkerKind_Parse(absl::AsciiStrToUpper(submission.worker_kind), &kind);
  spec.mutable_resources()->set_worker_kind(kind);
  spec.mutable_resources()->set_memory_gib(submission.memory_gib);
  if (submission.deadline_hours > 0) {
    spec.mutable_deadline()->set_seconds(static_cast<int64_t>(submission.deadline_hours * 3600));
  }
  if (submission.stall_minutes > 0) {
    spec.mutable_stall()->set_seconds(std::max<int64_t>(1, static_cast<int64_t>(submission.stall_minutes * 60)));
  }
  request.mutable_job()->set_display_name(submission.display_name);
  request.set_validate_only(submission.validate_only);
  // A call whose answer was lost is repeated, and must not make a second job.
  request.set_request_id(submission.request_id.empty() ? NewUuid() : submission.request_id);
  return session.Call(session.jobs(), &v1::JobService::Stub::CreateJob, request);
}

}  // namespace pactory
