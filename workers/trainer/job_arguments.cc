#include "workers/trainer/job_arguments.h"

#include <CLI/CLI.hpp>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "config/config_text.h"
#include "config/presets.h"

namespace pactory {
namespace {

absl::StatusOr<v1::QuantizationConfig> ReadConfig(const JobArguments& arguments) {
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

}  // namespace

void AddJobArguments(CLI::App& command, JobArguments& arguments) {
  command.add_option("--model", arguments.model, "ONNX file")->required()->check(CLI::ExistingFile);
  command.add_option("--data", arguments.data, "Training and calibration data: .npz (arrays named like the inputs, or x, and y) or a WebDataset tar")
      ->required()
      ->check(CLI::ExistingFile);
  command.add_option("--eval-data", arguments.eval_data, "Evaluation data; default: the training data")->check(CLI::ExistingFile);
  auto* preset = command.add_option("--preset", arguments.preset, "Named config")->capture_default_str();
  command.add_option("--config", arguments.config_path, "Config file, YAML or JSON")->excludes(preset)->check(CLI::ExistingFile);
  command.add_option("--set", arguments.assignments, "Changes one field of the config, like training.steps=100; repeatable");
}

absl::StatusOr<quant::QuantizationJob> ReadJobArguments(const JobArguments& arguments) {
  quant::QuantizationJob job;
  PACTORY_ASSIGN_OR_RETURN(job.config, ReadConfig(arguments));
  job.model_path = arguments.model;
  job.train_data_path = arguments.data;
  job.eval_data_path = arguments.eval_data.empty() ? arguments.data : arguments.eval_data;
  return job;
}

}  // namespace pactory
