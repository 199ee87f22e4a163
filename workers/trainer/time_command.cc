// `pactory-trainer time`: what a training step of a model takes on this machine, with and without fake quantization.
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "quant/pipeline/time_steps.h"
#include "workers/trainer/commands.h"
#include "workers/trainer/console_listener.h"
#include "workers/trainer/freed_memory.h"
#include "workers/trainer/job_arguments.h"
#include "workers/trainer/stop_signal.h"

namespace pactory {
namespace {

struct TimeArguments {
  JobArguments job;
  quant::StepTiming timing;
  int threads = 0;
  bool json = false;
};

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

double Least(const std::vector<double>& values) { return *std::min_element(values.begin(), values.end()); }

// Of this process so far.
int64_t PeakBytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

std::vector<double> Ratios(const quant::StepTimes& times) {
  std::vector<double> ratios;
  for (size_t round = 0; round < std::min(times.float_seconds.size(), times.quantized_seconds.size()); ++round) {
    ratios.push_back(times.quantized_seconds[round] / times.float_seconds[round]);
  }
  return ratios;
}

void PrintTimes(const quant::StepTimes& times) {
  const auto print = [](const char* name, const std::vector<double>& values, double scale, const char* unit) {
    if (values.empty()) return;
    std::cout << absl::StreamFormat("%-18s least %9.3f  median %9.3f %s\n", name, Least(values) * scale, Median(values) * scale, unit);
  };
  print("float step", times.float_seconds, 1e3, "ms");
  print("quantized step", times.quantized_seconds, 1e3, "ms");
  print("quantized / float", Ratios(times), 1, "");
  std::cout << absl::StreamFormat("peak memory %.1f MiB\n", static_cast<double>(PeakBytes()) / (1 << 20));
}

void PrintTimesJson(const quant::StepTimes& times) {
  nlohmann::ordered_json json;
  if (!times.float_seconds.empty()) json["float_seconds"] = times.float_seconds;
  if (!times.quantized_seconds.empty()) json["quantized_seconds"] = times.quantized_seconds;
  if (const std::vector<double> ratios = Ratios(times); !ratios.empty()) json["ratios"] = ratios;
  json["peak_bytes"] = PeakBytes();
  std::cout << json.dump(2) << "\n";
}

int RunTime(const TimeArguments& arguments) {
  auto job = ReadJobArguments(arguments.job);
  if (!job.ok()) {
    std::cerr << job.status().message() << "\n";
    return kExitUsage;
  }
  CatchStopSignals();
  KeepFreedMemory();
  job->threads = arguments.threads;
  ConsoleListener listener;
  const auto times = quant::TimeSteps(*job, listener, arguments.timing);
  listener.EndLine();
  if (!times.ok()) return ReportFailure(times.status());
  if (arguments.json) PrintTimesJson(*times);
  else PrintTimes(*times);
  return kExitDone;
}

}  // namespace

void AddTimeCommand(CLI::App& app, int* exit_code) {
  CLI::App* command = app.add_subcommand("time", "Time training steps of a model, with and without fake quantization");
  command->footer(
      "Says what a job will take on this machine: seconds of a step (forward, backward, optimizers) at the config's batch size, times\n"
      "its steps. Each round trains both models anew; a time is the mean of a round. One batch is read once.\n\n"
      "Example:\n  pactory-trainer time --model model.onnx --data train.npz --preset pact_int8 --set training.batch_size=32");
  auto arguments = std::make_shared<TimeArguments>();
  AddJobArguments(*command, arguments->job);
  command->add_option("--rounds", arguments->timing.rounds, "Rounds")->check(CLI::Range(1, 1000))->capture_default_str();
  command->add_option("--steps", arguments->timing.steps, "Counted steps of each model in a round")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  command->add_option("--threads", arguments->threads, "Threads; 0: as many as LibTorch takes by itself")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  const std::map<std::string, quant::TimedModels> models = {
      {"BOTH", quant::TimedModels::kBoth}, {"FLOAT", quant::TimedModels::kFloat}, {"QUANTIZED", quant::TimedModels::kQuantized}};
  command->add_option("--only", arguments->timing.models, "One of the models alone, to see its peak of memory: FLOAT or QUANTIZED")
      ->transform(CLI::CheckedTransformer(models, CLI::ignore_case));
  command->add_flag("--json", arguments->json, "JSON instead of text");
  command->callback([arguments, exit_code] { *exit_code = RunTime(*arguments); });
}

}  // namespace pactory
