// `pactory-trainer run`: FP32 inference on stored tensors, in the layout of ONNX's test data.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <onnx/onnx_pb.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "quant/execution/executor.h"
#include "quant/onnx/import.h"
#include "quant/onnx/tensor.h"
#include "quant/passes/pass_runner.h"
#include "workers/trainer/commands.h"

namespace pactory {
namespace {

namespace fs = std::filesystem;

// One model on one folder of inputs.
struct Case {
  std::string model;
  std::string inputs_dir;
  std::string outputs_dir;
};

struct RunOptions {
  Case single;
  std::string list;
  std::string passes = "all";
};

// How a case ended: a refused model is the caller's model's fault, a failed run that of the inputs.
struct CaseResult {
  absl::Status refused;
  absl::Status failed;
  std::vector<std::string> unsupported_ops;
};

absl::StatusOr<at::Tensor> ReadTensor(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat(path.string(), ": file can't be opened"));
  std::ostringstream content;
  content << file.rdbuf();
  onnx::TensorProto proto;
  if (!proto.ParseFromString(content.str())) {
    return absl::InvalidArgumentError(absl::StrCat(path.string(), ": must be a serialized TensorProto"));
  }
  absl::StatusOr<at::Tensor> tensor = quant::TensorFromProto(proto);
  if (!tensor.ok()) return Prefixed(tensor.status(), absl::StrCat(path.string(), ": "));
  return tensor;
}

absl::Status WriteFile(const fs::path& path, const std::string& content) {
  std::ofstream file(path, std::ios::binary);
  file << content;
  file.close();
  if (!file) return absl::InternalError(absl::StrCat(path.string(), ": file can't be written"));
  return absl::OkStatus();
}

absl::Status WriteOutputs(const quant::Graph& graph, const std::vector<at::Tensor>& outputs, const fs::path& folder) {
  for (size_t index = 0; index < outputs.size(); ++index) {
    const quant::ValueInfo& output = graph.outputs[index];
    // A graph that the passes widened to float32 still promises the file's types.
    const bool widened = at::isFloatingType(output.type) && outputs[index].scalar_type() == at::kFloat;
    PACTORY_ASSIGN_OR_RETURN(const onnx::TensorProto proto,
                             quant::TensorToProto(widened ? outputs[index].to(output.type) : outputs[index], output.name));
    PACTORY_RETURN_IF_ERROR(WriteFile(folder / absl::StrCat("output_", index, ".pb"), proto.SerializeAsString()));
  }
  return absl::OkStatus();
}

absl::Status RunInputs(const Case& one, const quant::Graph& graph, quant::Executor& executor) {
  std::vector<at::Tensor> inputs;
  for (size_t index = 0; index < graph.inputs.size(); ++index) {
    PACTORY_ASSIGN_OR_RETURN(at::Tensor input,
                             ReadTensor(fs::path(one.inputs_dir) / absl::StrCat("input_", index, ".pb")));
    inputs.push_back(std::move(input));
  }
  const at::NoGradGuard no_grad;
  PACTORY_ASSIGN_OR_RETURN(const std::vector<at::Tensor> outputs, executor.Run(inputs));
  return WriteOutputs(graph, outputs, one.outputs_dir);
}

CaseResult RunCase(const Case& one, const std::string& passes) {
  CaseResult result;
  std::error_code error;
  fs::create_directories(one.outputs_dir, error);
  absl::StatusOr<quant::Graph> graph = quant::ImportOnnxFile(one.model);
  if (!graph.ok()) {
    result.refused = graph.status();
    return result;
  }
  for (const quant::Node* node : quant::UnsupportedNodes(*graph)) result.unsupported_ops.push_back(node->op_type);
  if (passes == "all") {
    if (const auto reports = quant::PrepareGraph(*graph); !reports.ok()) {
      result.refused = Prefixed(reports.status(), absl::StrCat(one.model, ": "));
      return result;
    }
  }
  absl::StatusOr<std::unique_ptr<quant::Executor>> executor = quant::Executor::Create(*graph);
  if (!executor.ok()) {
    result.refused = Prefixed(executor.status(), absl::StrCat(one.model, ": "));
    return result;
  }
  result.failed = RunInputs(one, *graph, **executor);
  return result;
}

int RunSingle(const RunOptions& options) {
  const CaseResult result = RunCase(options.single, options.passes);
  for (const std::string& op : result.unsupported_ops) std::cerr << "unsupported op: " << op << "\n";
  if (!result.refused.ok()) {
    std::cerr << "pactory-trainer: " << result.refused.message() << "\n";
    return kExitRefused;
  }
  if (!result.failed.ok()) {
    std::cerr << "pactory-trainer: " << result.failed.message() << "\n";
    return kExitFailed;
  }
  return kExitDone;
}

absl::StatusOr<Case> ParseCase(const std::string& line) {
  const nlohmann::json json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  Case one;
  for (auto [key, field] : {std::pair{"model", &one.model}, {"inputs_dir", &one.inputs_dir},
                            {"outputs_dir", &one.outputs_dir}}) {
    if (!json.is_object() || !json.contains(key) || !json[key].is_string()) {
      return absl::InvalidArgumentError(absl::StrCat("line must be a JSON object with a string `", key, "`"));
    }
    *field = json[key].get<std::string>();
  }
  return one;
}

int RunList(const RunOptions& options) {
  std::ifstream file(options.list);
  if (!file) {
    std::cerr << "pactory-trainer: " << options.list << ": file can't be opened\n";
    return kExitUsage;
  }
  std::string line;
  for (int64_t number = 1; std::getline(file, line); ++number) {
    if (line.empty()) continue;
    const absl::StatusOr<Case> one = ParseCase(line);
    if (!one.ok()) {
      std::cerr << "pactory-trainer: " << options.list << ":" << number << ": " << one.status().message() << "\n";
      return kExitUsage;
    }
    const CaseResult result = RunCase(*one, options.passes);
    absl::Status written;
    if (!result.refused.ok()) {
      written = WriteFile(fs::path(one->outputs_dir) / "refused", std::string(result.refused.message()) + "\n");
    } else if (!result.failed.ok()) {
      written = WriteFile(fs::path(one->outputs_dir) / "failed", std::string(result.failed.message()) + "\n");
    }
    if (!written.ok()) {
      std::cerr << "pactory-trainer: " << written.message() << "\n";
      return kExitFailed;
    }
  }
  return kExitDone;
}

}  // namespace

void AddRunCommand(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<RunOptions>();
  CLI::App* command = app.add_subcommand("run", "Run a model in FP32 on stored tensors");
  command->footer(
      "Inputs are read from DIR/input_0.pb, input_1.pb, ... and outputs written to DIR/output_0.pb, ... as serialized\n"
      "TensorProto messages, the layout of ONNX's own test data.\n\n"
      "With --list, each line of FILE is one case: {\"model\": M, \"inputs_dir\": D, \"outputs_dir\": D}. A model that "
      "can't\n"
      "be run leaves its reason in outputs_dir/refused, inputs that don't fit leave it in outputs_dir/failed.\n\n"
      "Exit codes: 0 done, 1 the run failed, 2 usage, 3 the model can't be run (each unsupported op on stderr).\n\n"
      "Example:\n  pactory-trainer run --model model.onnx --inputs test_data_set_0 --outputs out");
  CLI::Option* list = command->add_option("--list", options->list, "JSON lines of many cases, run in one process");
  CLI::Option* model = command->add_option("--model", options->single.model, "ONNX model")->excludes(list);
  CLI::Option* inputs =
      command->add_option("--inputs", options->single.inputs_dir, "Folder with input_N.pb")->excludes(list);
  CLI::Option* outputs =
      command->add_option("--outputs", options->single.outputs_dir, "Folder for output_N.pb")->excludes(list);
  model->needs(inputs)->needs(outputs);
  command
      ->add_option("--passes", options->passes,
                   "Graph passes before the run: `all` as training uses them, `none` for the graph as it is")
      ->check(CLI::IsMember({"all", "none"}))
      ->capture_default_str();
  command->callback([options, list, model, exit_code] {
    if (list->empty() && model->empty()) throw CLI::RequiredError("--model or --list");
    *exit_code = list->empty() ? RunSingle(*options) : RunList(*options);
  });
}

}  // namespace pactory
