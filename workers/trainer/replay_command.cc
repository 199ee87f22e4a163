// `pactory-trainer replay`: runs the job of a manifest again and tells whether the same file came out.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/error.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "quant/pipeline/pipeline.h"
#include "quant/report/manifest.h"
#include "workers/trainer/commands.h"
#include "workers/trainer/console_listener.h"
#include "workers/trainer/freed_memory.h"
#include "workers/trainer/stop_signal.h"

namespace pactory {
namespace {

struct ReplayArguments {
  std::string manifest, model, data, eval_data, out, runtime_check;
};

absl::StatusOr<quant::Manifest> ReadManifest(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) return absl::NotFoundError(absl::StrCat("manifest can't be read: ", path));
  auto manifest = quant::ParseManifest(text.str());
  if (!manifest.ok()) return Prefixed(manifest.status(), absl::StrCat(path, ": "));
  return manifest;
}

absl::Status CheckInput(const std::string& path, const std::string& expected) {
  PACTORY_ASSIGN_OR_RETURN(const std::string actual, Sha256HexOfFile(path));
  if (actual == expected) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("file must be the one of the manifest: path=", path, " sha256=", actual, " manifest=", expected));
}

absl::Status CheckInputs(const ReplayArguments& arguments, const quant::Manifest& manifest) {
  PACTORY_RETURN_IF_ERROR(CheckInput(arguments.model, manifest.model_sha256));
  PACTORY_RETURN_IF_ERROR(CheckInput(arguments.data, manifest.train_data_sha256));
  return CheckInput(arguments.eval_data, manifest.eval_data_sha256);
}

// What may make the bytes differ here.
void PrintDifferences(const quant::EnvironmentReport& then, const quant::EnvironmentReport& now) {
  const auto print = [](const char* what, const std::string& before, const std::string& here) {
    if (before != here) std::cerr << "differs from the manifest: " << what << ": " << before << " there, " << here << " here\n";
  };
  print("pactory", then.pactory_version, now.pactory_version);
  print("libtorch", then.libtorch_version, now.libtorch_version);
  print("device class", then.device_class, now.device_class);
  print("cpu", then.cpu, now.cpu);
}

int RunReplay(ReplayArguments arguments) {
  if (arguments.eval_data.empty()) arguments.eval_data = arguments.data;
  const auto manifest = ReadManifest(arguments.manifest);
  if (!manifest.ok()) {
    std::cerr << manifest.status().message() << "\n";
    return kExitUsage;
  }
  if (const absl::Status inputs = CheckInputs(arguments, *manifest); !inputs.ok()) {
    std::cerr << inputs.message() << "\n";
    return kExitUsage;
  }
  CatchStopSignals();
  KeepFreedMemory();
  quant::QuantizationJob job;
  job.name = manifest->job;
  job.model_path = arguments.model;
  job.train_data_path = arguments.data;
  job.eval_data_path = arguments.eval_data;
  job.config = manifest->config;
  job.output_dir = arguments.out;
  job.runtime_check_command = absl::StrSplit(arguments.runtime_check, ' ', absl::SkipEmpty());
  job.threads = static_cast<int>(manifest->environment.threads);
  const std::string output = absl::StrCat(arguments.out, "/model.int8.onnx");
  // What is compared is written here and now.
  std::error_code ignored;
  std::filesystem::remove(output, ignored);
  ConsoleListener listener;
  const auto result = quant::RunPipeline(job, listener);
  listener.EndLine();
  // A job that failed its gates wrote its file all the same.
  const auto actual = Sha256HexOfFile(output);
  if (!actual.ok()) return ReportFailure(result.ok() ? actual.status() : result.status());
  if (!result.ok()) std::cerr << result.status().message() << "\n";
  if (*actual == manifest->output_sha256) {
    std::cout << "same model.int8.onnx: sha256=" << *actual << "\n";
    return kExitDone;
  }
  std::cout << "another model.int8.onnx: sha256=" << *actual << " manifest=" << manifest->output_sha256 << "\n";
  if (result.ok()) PrintDifferences(manifest->environment, result->report.environment);
  return kExitFailed;
}

}  // namespace

void AddReplayCommand(CLI::App& app, int* exit_code) {
  CLI::App* command = app.add_subcommand("replay", "Runs the job of a manifest again: does the same file come out?");
  command->footer(
      "Holds the files against the manifest's sums, runs the job with its config, seed and number of threads, and compares the\n"
      "sum of model.int8.onnx. The same versions on the same device class give the same bytes.\n\n"
      "Exit codes: 0 the same file, 1 another file or the job failed, 2 usage or other inputs than the manifest's.\n\n"
      "Example:\n  pactory-trainer replay out/manifest.json --model m.onnx --data train.npz --eval-data val.npz --out again");
  auto arguments = std::make_shared<ReplayArguments>();
  command->add_option("manifest", arguments->manifest, "manifest.json of a job")->required()->check(CLI::ExistingFile);
  command->add_option("--model", arguments->model, "ONNX file of the job")->required()->check(CLI::ExistingFile);
  command->add_option("--data", arguments->data, "Training data of the job")->required()->check(CLI::ExistingFile);
  command->add_option("--eval-data", arguments->eval_data, "Evaluation data of the job; default: the training data")
      ->check(CLI::ExistingFile);
  command->add_option("--out", arguments->out, "Folder for the results")->required();
  command->add_option("--runtime-check", arguments->runtime_check, "Command that runs the file in the serving runtime");
  command->callback([arguments, exit_code] { *exit_code = RunReplay(*arguments); });
}

}  // namespace pactory
