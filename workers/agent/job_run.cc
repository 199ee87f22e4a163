#include "workers/agent/job_run.h"

#include <google/protobuf/util/time_util.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "base/ids.h"
#include "base/status_macros.h"
#include "client/backoff.h"
#include "client/blob_upload.h"
#include "client/rpc_status.h"

namespace pactory {
namespace {

using google::protobuf::util::TimeUtil;

// A cancel comes with a heartbeat, every 10 s; with this grace the trainer is gone 15 s after the cancel.
constexpr absl::Duration kCancelGrace = absl::Seconds(4);
// A job that gives way is in no hurry: its trainer may end the step that it is in.
constexpr absl::Duration kPreemptGrace = absl::Seconds(10);
constexpr absl::Duration kPreemptSend = absl::Minutes(1);
// The whole agent has 5 s to end.
constexpr absl::Duration kShutdownGrace = absl::Milliseconds(2500);
constexpr absl::Duration kShutdownSend = absl::Milliseconds(700);
constexpr absl::Duration kShutdownCall = absl::Milliseconds(1500);
constexpr absl::Duration kFinishCall = absl::Seconds(15);
constexpr absl::Duration kDefaultDeadline = absl::Hours(24);
// How long errors of the server other than UNAVAILABLE are borne when the outcome is reported.
constexpr absl::Duration kFinishPatience = absl::Minutes(5);

absl::Duration DeadlineOf(const v1::JobSpec& spec) {
  const int64_t seconds = TimeUtil::DurationToSeconds(spec.deadline());
  return seconds > 0 ? absl::Seconds(seconds) : kDefaultDeadline;
}

v1::JobError MakeError(std::string reason, std::string message) {
  v1::JobError error;
  error.set_reason(std::move(reason));
  error.set_message(std::move(message));
  return error;
}

absl::Duration GraceFor(StopReason reason) {
  switch (reason) {
    case StopReason::kLeaseLost:
      // Nothing is left to save.
      return absl::ZeroDuration();
    case StopReason::kShutdown:
      return kShutdownGrace;
    case StopReason::kPreempted:
      return kPreemptGrace;
    default:
      return kCancelGrace;
  }
}

void SetDataFile(const BlobCache::Pin& pin, const v1::BlobRef& blob, v1::DataFile& file) {
  file.set_path(pin.path());
  file.set_format(blob.format());
}

}  // namespace

JobRun::JobRun(ServerConnection& server, BlobCache& cache, const RunSettings& settings, v1::Lease lease)
    : server_(server), cache_(cache), settings_(settings), lease_(std::move(lease)) {}

bool JobRun::Run() {
  spdlog::info("{}: attempt {} starts", job(), lease_.job().attempt());
  const absl::Duration time_limit = DeadlineOf(lease_.job().spec());
  LeaseKeeper keeper(server_, lease_.token(), settings_.heartbeat_interval, time_limit, stop_, [this] { StopTraining(); });
  const absl::StatusOr<Outcome> outcome = Work(keeper, absl::Now() + time_limit);
  Report(outcome);
  if (stop_.reason() != StopReason::kNone) return false;
  return !outcome.ok() || (outcome->error && outcome->error->reason() == "DISK_FULL");
}

void JobRun::StopTraining() {
  absl::MutexLock lock(&mutex_);
  if (stop_training_) return;
  spdlog::info("{}: its training is to end", job());
  stop_training_ = true;
  TellTrainerToStopTraining();
}

void JobRun::TellTrainerToStopTraining() {
  if (!stop_training_ || stop_training_path_.empty()) return;
  if (!std::ofstream(stop_training_path_)) spdlog::error("{}: can't be written: {}", job(), stop_training_path_);
}

absl::StatusOr<JobRun::Outcome> JobRun::Work(LeaseKeeper& keeper, absl::Time deadline) {
  v1::Progress progress;
  progress.set_stage("download");
  progress.set_eta_seconds(-1);
  progress.set_metric(-1);
  keeper.SetProgress(progress);

  PACTORY_ASSIGN_OR_RETURN(const auto model, Fetch(lease_.model()));
  PACTORY_ASSIGN_OR_RETURN(const auto train, Fetch(lease_.train_dataset()));
  PACTORY_ASSIGN_OR_RETURN(const auto eval, Fetch(lease_.eval_dataset()));
  std::optional<BlobCache::Pin> checkpoint;
  if (lease_.has_checkpoint()) {
    v1::BlobRef blob;
    blob.set_blob(lease_.checkpoint().blob());
    auto fetched = Fetch(blob);
    if (fetched.ok()) {
      checkpoint.emplace(*std::move(fetched));
    } else if (absl::IsDataLoss(fetched.status()) || absl::IsNotFound(fetched.status())) {
      // Every attempt would find it so, and a job is worth more than its checkpoint.
      spdlog::warn("{}: starts anew, the checkpoint of step {} can't be read: {}", job(), lease_.checkpoint().step(),
                   fetched.status().ToString());
    } else {
      return fetched.status();
    }
  }

  const std::string name =
      absl::StrCat(absl::StrReplaceAll(IdOf("jobs", job()), {{"/", "_"}, {".", "_"}}), "-", lease_.token().fence());
  PACTORY_ASSIGN_OR_RETURN(JobFolder folder, JobFolder::Make(settings_.work_folder, name));
  v1::TrainerJob trainer_job;
  trainer_job.set_job(job());
  trainer_job.set_model_path(model.path());
  SetDataFile(train, lease_.train_dataset(), *trainer_job.mutable_train_data());
  SetDataFile(eval, lease_.eval_dataset(), *trainer_job.mutable_eval_data());
  *trainer_job.mutable_config() = lease_.job().spec().config();
  trainer_job.set_output_dir(folder.output());
  if (checkpoint) trainer_job.set_checkpoint_path(checkpoint->path());
  for (const std::string& word : settings_.runtime_check_command) trainer_job.add_runtime_check_command(word);
  *trainer_job.mutable_deadline() = TimeUtil::MicrosecondsToTimestamp(absl::ToUnixMicros(deadline));
  trainer_job.set_stop_training_path(folder.stop_training());
  {
    absl::MutexLock lock(&mutex_);
    stop_training_path_ = folder.stop_training();
    TellTrainerToStopTraining();
  }
  auto outcome = Train(folder, std::move(trainer_job), keeper);
  // Before the folder that their files are in.
  absl::MutexLock lock(&mutex_);
  checkpoint_.reset();
  stop_training_path_.clear();
  return outcome;
}

absl::StatusOr<BlobCache::Pin> JobRun::Fetch(const v1::BlobRef& blob) {
  return cache_.Fetch(server_.Transfer(lease_.token(), stop_.signal()), blob);
}

absl::StatusOr<JobRun::Outcome> JobRun::Train(JobFolder& folder, v1::TrainerJob job_message, LeaseKeeper& keeper) {
  MetricSender metrics(server_, lease_.token(), stop_);
  CheckpointSender checkpoints(server_, lease_.token(), stop_);
  for (int restarts = 0;; ++restarts) {
    PACTORY_ASSIGN_OR_RETURN(const TrainerEnd end, RunTrainer(folder, job_message, keeper, metrics, checkpoints));
    // The trainer's last checkpoint is where the next attempt goes on.
    if (stop_.reason() == StopReason::kPreempted) checkpoints.Drain(kPreemptSend);
    if (stop_.reason() == StopReason::kShutdown) checkpoints.Drain(kShutdownSend);
    if (stop_.reason() != StopReason::kNone) return absl::CancelledError("the run was stopped");
    std::optional<v1::TrainerEvent> last_word;
    std::shared_ptr<const HeldCheckpoint> checkpoint;
    {
      absl::MutexLock lock(&mutex_);
      last_word = last_word_;
      checkpoint = checkpoint_;
    }
    if (last_word) {
      metrics.Drain();
      Outcome outcome;
      if (last_word->has_error()) outcome.error = last_word->error();
      PACTORY_ASSIGN_OR_RETURN(outcome.artifacts, Upload(folder, outcome.error ? last_word->error_files()
                                                                                : last_word->result().files()));
      return outcome;
    }
    spdlog::warn("{}: {}\n{}", job(), end.Describe(), end.log);
    // A trainer that something killed is started again from where it was; one that ended by itself would end so again.
    if (end.signal != 0 && !end.out_of_memory && restarts < settings_.max_restarts) {
      if (checkpoint) job_message.set_checkpoint_path(checkpoint->path());
      spdlog::info("{}: the trainer is started again, from {}", job(),
                   checkpoint ? absl::StrCat("step ", checkpoint->step()) : "the start");
      continue;
    }
    metrics.Drain();
    std::string message = end.Describe();
    if (restarts > 0) absl::StrAppend(&message, " (it was started again ", restarts, " times)");
    return Outcome{{}, MakeError(end.out_of_memory ? "OUT_OF_MEMORY" : "TRAINER_DIED", message)};
  }
}

absl::StatusOr<TrainerEnd> JobRun::RunTrainer(JobFolder& folder, const v1::TrainerJob& job_message,
                                              LeaseKeeper& keeper, MetricSender& metrics,
                                              CheckpointSender& checkpoints) {
  const auto on_event = [&](const v1::TrainerEvent& event) {
    switch (event.event_case()) {
      case v1::TrainerEvent::kProgress:
        keeper.SetProgress(event.progress());
        break;
      case v1::TrainerEvent::kMetrics:
        metrics.Add(event.metrics());
        break;
      case v1::TrainerEvent::kCheckpoint:
        HoldCheckpoint(folder, event.checkpoint(), checkpoints);
        break;
      case v1::TrainerEvent::kResult:
      case v1::TrainerEvent::kError: {
        absl::MutexLock lock(&mutex_);
        last_word_ = event;
        break;
      }
      case v1::TrainerEvent::EVENT_NOT_SET:
        break;
    }
  };
  PACTORY_ASSIGN_OR_RETURN(const auto trainer, TrainerProcess::Start({settings_.trainer_command, folder.path(),
                                                                      settings_.memory_limit_bytes},
                                                                     job_message, on_event));
  spdlog::info("{}: trainer started, pid {}", job(), trainer->pid());
  if (!trainer->WaitForExit(stop_.signal())) {
    trainer->Stop(GraceFor(stop_.reason()));
  }
  return trainer->Finish();
}

void JobRun::HoldCheckpoint(const JobFolder& folder, const v1::CheckpointWritten& written,
                            CheckpointSender& checkpoints) {
  const auto file = folder.FileInside(written.path());
  if (!file.ok()) {
    spdlog::warn("{}: checkpoint ignored: {}", job(), file.status().ToString());
    return;
  }
  std::shared_ptr<const HeldCheckpoint> held;
  {
    absl::MutexLock lock(&mutex_);
    // A second name for the file: the trainer may remove or replace its own while this one is being sent.
    const std::string path = absl::StrCat(folder.held(), "/", ++held_count_);
    if (link(file->c_str(), path.c_str()) != 0) {
      spdlog::warn("{}: checkpoint can't be held: {}: {}", job(), *file, std::strerror(errno));
      return;
    }
    held = checkpoint_ = std::make_shared<const HeldCheckpoint>(path, written.step());
  }
  checkpoints.Offer(std::move(held));
}

absl::StatusOr<std::vector<v1::Artifact>> JobRun::Upload(
    const JobFolder& folder, const google::protobuf::RepeatedPtrField<v1::OutputFile>& files) {
  std::vector<v1::Artifact> artifacts;
  for (const v1::OutputFile& output : files) {
    if (output.name().empty() || output.name().find('/') != std::string::npos) {
      return absl::InternalError(absl::StrCat("a result's name must be a plain file name: ", output.name()));
    }
    PACTORY_ASSIGN_OR_RETURN(const std::string path,
                             folder.FileInside(absl::StrCat(folder.output(), "/", output.name())));
    PACTORY_ASSIGN_OR_RETURN(const FileContent file, ExamineFile(path));
    v1::Artifact artifact;
    artifact.set_name(output.name());
    artifact.set_size_bytes(file.size_bytes);
    artifact.set_media_type(output.media_type());
    PACTORY_ASSIGN_OR_RETURN(*artifact.mutable_blob(),
                             UploadBlob(server_.Transfer(lease_.token(), stop_.signal()), file, NewUuid()));
    artifacts.push_back(std::move(artifact));
  }
  return artifacts;
}

void JobRun::Report(const absl::StatusOr<Outcome>& outcome) {
  if (!outcome.ok() && IsLeaseLost(outcome.status())) stop_.Request(StopReason::kLeaseLost);
  v1::FinishJobRequest request;
  *request.mutable_lease() = lease_.token();
  switch (stop_.reason()) {
    case StopReason::kLeaseLost:
      spdlog::warn("{}: dropped, the lease belongs to another worker", job());
      return;
    case StopReason::kPreempted:
    case StopReason::kShutdown: {
      Cancellation none;
      const absl::Status status = server_.ReleaseJob(lease_.token(), kShutdownCall, none);
      spdlog::info("{}: given back: {}", job(), status.ToString());
      return;
    }
    case StopReason::kCancelled:
      request.mutable_cancelled();
      break;
    case StopReason::kDeadline:
      *request.mutable_failed() =
          MakeError("DEADLINE_EXCEEDED", absl::StrCat("the attempt must end within the job's deadline: ",
                                                      absl::FormatDuration(DeadlineOf(lease_.job().spec()))));
      break;
    case StopReason::kNone:
      if (!outcome.ok()) {
        spdlog::error("{}: {}", job(), outcome.status().ToString());
        *request.mutable_failed() = MakeError("INTERNAL", std::string(outcome.status().message()));
      } else if (outcome->error) {
        *request.mutable_failed() = *outcome->error;
        request.mutable_failed_artifacts()->Add(outcome->artifacts.begin(), outcome->artifacts.end());
      } else {
        request.mutable_succeeded()->mutable_artifacts()->Add(outcome->artifacts.begin(), outcome->artifacts.end());
      }
  }
  Finish(std::move(request));
}

void JobRun::Finish(v1::FinishJobRequest request) {
  Cancellation none;
  Backoff backoff;
  const auto start = std::chrono::steady_clock::now();
  while (true) {
    const bool shutdown = stop_.reason() == StopReason::kShutdown;
    const absl::Status status = server_.FinishJob(request, shutdown ? kShutdownCall : kFinishCall, none);
    if (status.ok()) {
      const std::string what = request.has_succeeded()   ? "succeeded"
                               : request.has_cancelled() ? "cancelled"
                                                         : "failed: " + request.failed().message();
      spdlog::info("{}: {}", job(), what);
      return;
    }
    if (IsLeaseLost(status) || stop_.reason() == StopReason::kLeaseLost) {
      spdlog::warn("{}: the outcome came too late: {}", job(), status.ToString());
      return;
    }
    spdlog::warn("{}: the outcome is not delivered yet: {}", job(), status.ToString());
    if (shutdown) return;
    if (stop_.reason() == StopReason::kCancelled && !request.has_cancelled()) {
      request.mutable_cancelled();
      request.clear_failed_artifacts();
    } else if (!IsTransient(status) && !absl::IsInternal(status) && !absl::IsUnknown(status)) {
      if (!request.has_succeeded() && request.failed_artifacts().empty()) return;
      if (request.has_succeeded()) {
        *request.mutable_failed() =
            MakeError("INTERNAL", absl::StrCat("the results were refused: ", status.message()));
      }
      // The job's end matters more than its report.
      request.clear_failed_artifacts();
    } else if (!IsTransient(status) && absl::FromChrono(std::chrono::steady_clock::now() - start) > kFinishPatience) {
      return;
    }
    // Only a shutdown shortens the wait: the signal may have been given long before, by a cancel.
    const absl::Duration wait = backoff.Next();
    if (!stop_.signal().cancelled()) {
      stop_.signal().WaitFor(wait);
    } else {
      none.WaitFor(wait);
    }
  }
}

}  // namespace pactory
