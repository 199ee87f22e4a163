#include <CLI/CLI.hpp>
#include <iostream>

#include "absl/strings/str_split.h"
#include "quant/pipeline/pipeline.h"
#include "workers/trainer/commands.h"
#include "workers/trainer/console_listener.h"
#include "workers/trainer/freed_memory.h"
#include "workers/trainer/job_arguments.h"
#include "workers/trainer/result_table.h"
#include "workers/trainer/stop_signal.h"

namespace pactory {
namespace {

struct QuantizeArguments {
  JobArguments job;
  std::string out, runtime_check, checkpoint;
};

int RunQuantize(const QuantizeArguments& arguments) {
  auto job = ReadJobArguments(arguments.job);
  if (!job.ok()) {
    std::cerr << job.status().message() << "\n";
    return kExitUsage;
  }
  CatchStopSignals();
  KeepFreedMemory();
  job->output_dir = arguments.out;
  job->checkpoint_path = arguments.checkpoint;
  job->runtime_check_command = absl::StrSplit(arguments.runtime_check, ' ', absl::SkipEmpty());
  ConsoleListener listener;
  const auto result = quant::RunPipeline(*job, listener);
  listener.EndLine();
  if (!result.ok()) return ReportFailure(result.status());
  std::cout << FormatResultTable(result->report);
  for (const quant::OutputFile& file : result->files) std::cout << arguments.out << "/" << file.name << "\n";
  return kExitDone;
}

}  // namespace

void AddQuantizeCommand(CLI::App& app, int* exit_code) {
  CLI::App* command = app.add_subcommand(
      "quantize",
      "Quantizes a model without any service: the pipeline and the files of a job.\n"
      "Example: pactory-trainer quantize --model m.onnx --data train.npz --eval-data val.npz --preset pact_int8 --out out "
      "--runtime-check 'python3 workers/runtime_check/ort_check.py'");
  auto arguments = std::make_shared<QuantizeArguments>();
  AddJobArguments(*command, arguments->job);
  command->add_option("--out", arguments->out, "Folder for the results")->required();
  command->add_option("--checkpoint", arguments->checkpoint, "Checkpoint to resume from")->check(CLI::ExistingFile);
  command->add_option("--runtime-check", arguments->runtime_check,
                      "Command that runs the file in the serving runtime; without it the deployed model is not measured");
  command->callback([arguments, exit_code] { *exit_code = RunQuantize(*arguments); });
}

}  // namespace pactory
