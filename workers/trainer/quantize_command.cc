#include <CLI/CLI.hpp>
#include <fstream>
#include <iostream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "config/config_text.h"
#include "config/presets.h"
#include "quant/pipeline/pipeline.h"
#include "workers/trainer/commands.h"
#include "workers/trainer/console_listener.h"
#include "workers/trainer/result_table.h"
#include "workers/trainer/freed_memory.h"
#include "workers/trainer/stop_signal.h"

namespace pactory {
namespace {

struct QuantizeArguments {
  std::string model, data, eval_data, preset, config_path, out, runtime_check, checkpoint;
  std::vector<std::string> assignments;
};

absl::StatusOr<v1::QuantizationConfig> ReadConfig(const QuantizeArguments& arguments) {
  v1::QuantizationConfig config;
  if (!arguments.config_path.empty()) {
    std::ifstream file(arguments.config_path);
    if (!file) return absl::NotFoundError(absl::StrCat("config can't be opened: ", arguments.config_path));
    std::ostringstream text;
    text << file.rdbuf();
    auto parsed = ParseConfig(text.str());
    if (!parsed.ok()) return Prefixed(parsed.status(), absl::StrCat(arguments.config_path, ": "));
    config = *std::move(parsed);
  } else {
    PACTORY_ASSIGN_OR_RETURN(config, FindPreset(arguments.preset));
  }
  for (const std::string& assignment : arguments.assignments) {
    PACTORY_RETURN_IF_ERROR(SetConfigField(config, assignment));
  }
  return config;
}

int RunQuantize(const QuantizeArguments& arguments) {
  const auto config = ReadConfig(arguments);
  if (!config.ok()) {
    std::cerr << config.status().message() << "\n";
    return kExitUsage;
  }
  CatchStopSignals();
  KeepFreedMemory();
  quant::QuantizationJob job;
  job.model_path = arguments.model;
  job.train_data_path = arguments.data;
  job.eval_data_path = arguments.eval_data.empty() ? arguments.data : arguments.eval_data;
  job.config = *config;
  job.output_dir = arguments.out;
  job.checkpoint_path = arguments.checkpoint;
  job.runtime_check_command = absl::StrSplit(arguments.runtime_check, ' ', absl::SkipEmpty());
  ConsoleListener listener;
  const auto result = quant::RunPipeline(job, listener);
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
  arguments->preset = "pact_int8";
  command->add_option("--model", arguments->model, "ONNX file")->required()->check(CLI::ExistingFile);
  command->add_option("--data", arguments->data, "Training and calibration data: .npz (x, y) or a WebDataset tar")
      ->required()
      ->check(CLI::ExistingFile);
  command->add_option("--eval-data", arguments->eval_data, "Evaluation data; default: the training data")->check(CLI::ExistingFile);
  auto* preset = command->add_option("--preset", arguments->preset, "Named config")->capture_default_str();
  command->add_option("--config", arguments->config_path, "Config file, YAML or JSON")->excludes(preset)->check(CLI::ExistingFile);
  command->add_option("--set", arguments->assignments, "Changes one field of the config, like training.steps=100; repeatable");
  command->add_option("--out", arguments->out, "Folder for the results")->required();
  command->add_option("--checkpoint", arguments->checkpoint, "Checkpoint to resume from")->check(CLI::ExistingFile);
  command->add_option("--runtime-check", arguments->runtime_check,
                      "Command that runs the file in the serving runtime; without it the deployed model is not measured");
  command->callback([arguments, exit_code] { *exit_code = RunQuantize(*arguments); });
}

}  // namespace pactory
