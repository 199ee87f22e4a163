#include <fcntl.h>
#include <google/protobuf/util/time_util.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <exception>
#include <new>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/logging.h"
#include "quant/pipeline/pipeline.h"
#include "workers/trainer/commands.h"
#include "workers/trainer/event_pipe.h"
#include "workers/trainer/job_error.h"
#include "workers/trainer/freed_memory.h"
#include "workers/trainer/stop_signal.h"

namespace pactory {
namespace {

using google::protobuf::util::TimeUtil;

constexpr int kEventFd = 3;

// Hands on what the pipeline says; a broken pipe means that the agent is gone and nobody waits for the result.
class PipeListener : public quant::JobListener {
 public:
  PipeListener(EventPipe& pipe, std::string stop_training_path)
      : pipe_(pipe), stop_training_path_(std::move(stop_training_path)) {}

  void OnProgress(const v1::Progress& progress) override {
    v1::TrainerEvent event;
    *event.mutable_progress() = progress;
    pipe_.Send(event);
  }

  void OnMetrics(const std::vector<v1::Metric>& metrics) override {
    v1::TrainerEvent event;
    for (const v1::Metric& metric : metrics) *event.mutable_metrics()->add_metrics() = metric;
    pipe_.Send(event);
  }

  void OnCheckpoint(const std::string& path, int64_t step) override {
    v1::TrainerEvent event;
    event.mutable_checkpoint()->set_path(path);
    event.mutable_checkpoint()->set_step(step);
    pipe_.Send(event);
  }

  bool StopRequested() const override { return StopSignalled() || pipe_.broken(); }

  bool StopTrainingRequested() const override {
    return !stop_training_path_.empty() && access(stop_training_path_.c_str(), F_OK) == 0;
  }

 private:
  EventPipe& pipe_;
  const std::string stop_training_path_;
};

quant::QuantizationJob ToQuantizationJob(const v1::TrainerJob& job) {
  return {.name = job.job(),
          .model_path = job.model_path(),
          .train_data_path = job.train_data().path(),
          .eval_data_path = job.eval_data().path(),
          .config = job.config(),
          .output_dir = job.output_dir(),
          .checkpoint_path = job.checkpoint_path(),
          .runtime_check_command = {job.runtime_check_command().begin(), job.runtime_check_command().end()},
          .deadline = job.has_deadline() ? absl::FromUnixMicros(TimeUtil::TimestampToMicroseconds(job.deadline()))
                                         : absl::InfiniteFuture()};
}

// Nothing may leave this process but an event: an exception here is a fault of ours that the agent should be able to name.
absl::StatusOr<quant::PipelineResult> RunGuarded(const quant::QuantizationJob& job, quant::JobListener& listener) {
  try {
    return quant::RunPipeline(job, listener);
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("out of memory");
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat("unexpected: ", error.what()));
  }
}

void SetFiles(const std::vector<quant::OutputFile>& files, google::protobuf::RepeatedPtrField<v1::OutputFile>& outputs) {
  for (const quant::OutputFile& file : files) {
    v1::OutputFile& output = *outputs.Add();
    output.set_name(file.name);
    output.set_media_type(file.media_type);
  }
}

int FailWith(EventPipe& pipe, const absl::Status& status, const std::vector<quant::OutputFile>& files = {}) {
  v1::TrainerEvent event;
  *event.mutable_error() = ToJobError(status);
  SetFiles(files, *event.mutable_error_files());
  spdlog::error("{}: {}", event.error().reason(), event.error().message());
  pipe.Send(event);
  return kExitFailed;
}

int RunJob() {
  if (fcntl(kEventFd, F_GETFD) < 0) {
    spdlog::error("file descriptor 3 must be open for events; this subcommand is run by the worker agent");
    return kExitUsage;
  }
  CatchStopSignals();
  KeepFreedMemory();
  EventPipe pipe(kEventFd);
  auto job = ReadJob(STDIN_FILENO);
  if (!job.ok()) return FailWith(pipe, job.status());
  PipeListener listener(pipe, job->stop_training_path());
  const auto result = RunGuarded(ToQuantizationJob(*job), listener);
  if (!result.ok() && (absl::IsCancelled(result.status()) || StopSignalled())) {
    spdlog::info("{}", std::string(result.status().message()));
    return kExitTerminated;
  }
  if (!result.ok()) return FailWith(pipe, result.status(), quant::WrittenReports(job->output_dir()));
  v1::TrainerEvent event;
  SetFiles(result->files, *event.mutable_result()->mutable_files());
  pipe.Send(event);
  return pipe.broken() ? kExitFailed : kExitDone;
}

}  // namespace

void AddJobCommand(CLI::App& app, int* exit_code) {
  CLI::App* command = app.add_subcommand(
      "job",
      "Runs one job for the worker agent: reads a TrainerJob from standard input, writes TrainerEvents to file descriptor 3. "
      "Exit status 0 done, 1 failed, 143 ended by SIGTERM.");
  command->callback([exit_code] {
    if (const absl::Status status = InitLogging({.program = "pactory-trainer"}); !status.ok()) {
      *exit_code = kExitFailed;
      return;
    }
    *exit_code = RunJob();
  });
}

}  // namespace pactory
