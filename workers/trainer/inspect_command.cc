// `pactory-trainer inspect`: what a model is made of and what quantization would do to it.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "config/config_rules.h"
#include "config/presets.h"
#include "quant/execution/executor.h"
#include "quant/onnx/import.h"
#include "workers/trainer/commands.h"
#include "workers/trainer/model_summary.h"

namespace pactory {
namespace {

struct InspectOptions {
  std::string model;
  std::string preset = "pact_int8";
  std::vector<std::string> sample_shapes;
  bool json = false;
};

// Each text is `3,48,192`, for the first input, or `NAME=3,48,192`.
absl::StatusOr<SampleShapes> ReadSampleShapes(const std::vector<std::string>& texts, const quant::Graph& graph) {
  SampleShapes shapes;
  for (const std::string& text : texts) {
    const size_t equals = text.rfind('=');
    const std::string name = equals != std::string::npos ? text.substr(0, equals) : graph.inputs.empty() ? "" : graph.inputs[0].name;
    if (std::none_of(graph.inputs.begin(), graph.inputs.end(), [&](const quant::ValueInfo& input) { return input.name == name; })) {
      return absl::InvalidArgumentError(absl::StrCat("--sample-shape: the model has no input ", name));
    }
    std::vector<int64_t>& dims = shapes[name];
    for (const absl::string_view part : absl::StrSplit(absl::string_view(text).substr(equals + 1), ',', absl::SkipEmpty())) {
      if (!absl::SimpleAtoi(part, &dims.emplace_back()) || dims.back() < 0) {
        return absl::InvalidArgumentError(absl::StrCat("--sample-shape: must be whole numbers, like 3,48,192: ", text));
      }
    }
  }
  return shapes;
}

std::string DimsText(const quant::ValueInfo& info) {
  if (!info.rank_known) return "?";
  return absl::StrJoin(info.dims, " x ", [](std::string* text, int64_t dim) {
    absl::StrAppend(text, dim < 0 ? "?" : absl::StrCat(dim));
  });
}

std::string Scaled(double value) {
  if (value >= 1e9) return absl::StrFormat("%.2f G", value / 1e9);
  if (value >= 1e6) return absl::StrFormat("%.2f M", value / 1e6);
  if (value >= 1e3) return absl::StrFormat("%.1f k", value / 1e3);
  return absl::StrFormat("%.0f ", value);
}

std::string CountsText(const std::map<std::string, int64_t>& counts) {
  std::vector<std::pair<std::string, int64_t>> sorted(counts.begin(), counts.end());
  std::stable_sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  return absl::StrJoin(sorted, ", ", [](std::string* text, const auto& item) {
    absl::StrAppend(text, item.first, " ", item.second);
  });
}

void PrintText(const InspectOptions& options, const ModelSummary& summary) {
  std::cout << options.model << "\n";
  std::cout << "opset         " << summary.opset << "\n";
  for (const auto& input : summary.inputs)
    std::cout << "input         " << input.name << ": " << DimsText(input) << "\n";
  for (const auto& output : summary.outputs) {
    std::cout << "output        " << output.name << ": " << DimsText(output) << "\n";
  }
  std::cout << "ops           " << CountsText(summary.file_ops) << "\n";
  std::cout << "prepared      " << CountsText(summary.prepared_ops) << "\n";
  std::cout << "parameters    " << Scaled(static_cast<double>(summary.parameters)) << "\n";
  if (summary.flops) {
    std::cout << "FLOPs         " << Scaled(static_cast<double>(*summary.flops))
              << " for one sample, in layers with weights\n";
  } else {
    std::cout << "FLOPs         not known: " << summary.flops_problem << "\n";
  }
  std::cout << absl::StrFormat("tensors       %sB as float, about %sB quantized (%.0f %%), by preset %s\n",
                               Scaled(static_cast<double>(summary.float_bytes)),
                               Scaled(static_cast<double>(summary.quantized_bytes)),
                               100.0 * static_cast<double>(summary.quantized_bytes) /
                                   static_cast<double>(std::max<int64_t>(1, summary.float_bytes)),
                               options.preset);
  std::cout << "activations   " << summary.quantized_activations << " quantized\n\n";
  std::cout << absl::StrFormat("%-40s %-14s %10s %10s  %s\n", "layer", "op", "parameters", "FLOPs", "weights");
  for (const LayerSummary& layer : summary.layers) {
    std::string weights = layer.weight_bits > 0 ? absl::StrCat("int", layer.weight_bits) : "float";
    if (!layer.float_reason.empty()) {
      absl::StrAppend(&weights, layer.weight_bits > 0 ? ", computed in float: " : ": ", layer.float_reason);
    }
    std::cout << absl::StrFormat("%-40s %-14s %10d %10s  %s\n", layer.name.substr(0, 40), layer.op, layer.parameters,
                                 layer.flops ? Scaled(static_cast<double>(*layer.flops)) : "?", weights);
  }
  for (const std::string& warning : summary.warnings) std::cout << "warning: " << warning << "\n";
}

nlohmann::json ValuesJson(const std::vector<quant::ValueInfo>& values) {
  nlohmann::json list = nlohmann::json::array();
  for (const auto& value : values) list.push_back({{"name", value.name}, {"dims", value.dims}});
  return list;
}

void PrintJson(const ModelSummary& summary) {
  nlohmann::json layers = nlohmann::json::array();
  for (const LayerSummary& layer : summary.layers) {
    layers.push_back({{"name", layer.name},
                      {"op", layer.op},
                      {"parameters", layer.parameters},
                      {"flops", layer.flops ? nlohmann::json(*layer.flops) : nlohmann::json()},
                      {"weight_bits", layer.weight_bits},
                      {"float_reason", layer.float_reason}});
  }
  const nlohmann::json json = {
      {"opset", summary.opset},
      {"inputs", ValuesJson(summary.inputs)},
      {"outputs", ValuesJson(summary.outputs)},
      {"ops", summary.file_ops},
      {"prepared_ops", summary.prepared_ops},
      {"parameters", summary.parameters},
      {"flops", summary.flops ? nlohmann::json(*summary.flops) : nlohmann::json()},
      {"flops_problem", summary.flops_problem},
      {"tensor_bytes", {{"float", summary.float_bytes}, {"quantized", summary.quantized_bytes}}},
      {"quantized_activations", summary.quantized_activations},
      {"layers", layers},
      {"warnings", summary.warnings}};
  // Names come from the file and may be no UTF-8.
  std::cout << json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) << "\n";
}

int Inspect(const InspectOptions& options) {
  absl::StatusOr<v1::QuantizationConfig> config = FindPreset(options.preset);
  if (!config.ok()) {
    std::cerr << "pactory-trainer: " << config.status().message() << "\n";
    return kExitUsage;
  }
  FillDefaults(*config);
  const absl::StatusOr<quant::Graph> graph = quant::ImportOnnxFile(options.model);
  if (!graph.ok()) {
    std::cerr << "pactory-trainer: " << graph.status().message() << "\n";
    return kExitRefused;
  }
  for (const quant::Node* node : quant::UnsupportedNodes(*graph)) {
    std::cerr << "unsupported op: " << node->op_type << " (node " << node->name << ")\n";
  }
  const absl::StatusOr<SampleShapes> shapes = ReadSampleShapes(options.sample_shapes, *graph);
  if (!shapes.ok()) {
    std::cerr << "pactory-trainer: " << shapes.status().message() << "\n";
    return kExitUsage;
  }
  const absl::StatusOr<ModelSummary> summary = SummarizeModel(*graph, *config, *shapes);
  if (!summary.ok()) {
    std::cerr << "pactory-trainer: " << options.model << ": " << summary.status().message() << "\n";
    return kExitRefused;
  }
  if (options.json) PrintJson(*summary);
  else PrintText(options, *summary);
  return kExitDone;
}

}  // namespace

void AddInspectCommand(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<InspectOptions>();
  CLI::App* command = app.add_subcommand("inspect", "Show what a model is made of and what would be quantized");
  command->footer(
      "Prints ops, parameters, FLOPs, what quantization would do to each layer and why layers stay float, and the "
      "size\n"
      "to expect. FLOPs need every dimension but the batch: give those that the model leaves open with "
      "--sample-shape.\n\n"
      "Exit codes: 0 done, 2 usage, 3 the model can't be run (each unsupported op on stderr).\n\n"
      "Example:\n  pactory-trainer inspect --model model.onnx --sample-shape 3,48,192");
  command->add_option("--model", options->model, "ONNX model")->required();
  command->add_option("--preset", options->preset, "Preset to plan by")->capture_default_str();
  command
      ->add_option("--sample-shape", options->sample_shapes,
                   "Shape of one sample of an input, without the batch: [NAME=]DIM,DIM,...; without NAME the first; repeatable")
      ->allow_extra_args(false);
  command->add_flag("--json", options->json, "JSON instead of text");
  command->callback([options, exit_code] { *exit_code = Inspect(*options); });
}

}  // namespace pactory
