// `pactory-trainer ops`: what this build can run, for people (a Markdown table) and for the agent (JSON).
#include <CLI/CLI.hpp>
#include <iostream>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "base/version.h"
#include "quant/exporting/upgrade_opset.h"
#include "quant/onnx/import.h"
#include "quant/ops/registry.h"
#include "workers/trainer/commands.h"
#include "workers/trainer/gpu_names.h"

namespace pactory {
namespace {

// No default, so that a role without a word is a compile error.
const char* RoleName(quant::QuantizationRole role) {
  switch (role) {
    case quant::QuantizationRole::kWeighted: return "weights and input";
    case quant::QuantizationRole::kActivation: return "inputs and output";
    case quant::QuantizationRole::kPassThrough: return "shares its input's scale";
    case quant::QuantizationRole::kFloatOnly: return "stays float";
  }
  return "";
}

// "ai.onnx" is left out, other domains stand before the name.
std::string FullName(const quant::OpDefinition& op) { return op.domain.empty() ? op.name : op.domain + "." + op.name; }

void PrintMarkdown() {
  std::cout << "| op | from opset | quantization |\n| --- | --- | --- |\n";
  for (const char* op : quant::kImportedOps) {
    std::cout << "| " << op << " | " << quant::kOldestOpset << " | becomes a stored tensor |\n";
  }
  for (const quant::OpDefinition* op : quant::AllOps()) {
    std::cout << "| " << FullName(*op) << " | " << op->first_opset << " | " << RoleName(op->role) << " |\n";
  }
}

void PrintJson() {
  std::set<std::string> names(std::begin(quant::kImportedOps), std::end(quant::kImportedOps));
  for (const quant::OpDefinition* op : quant::AllOps()) names.insert(FullName(*op));
  const std::vector<std::string> gpus = GpuNames();
  const int64_t memory = gpus.empty() ? 0 : FirstGpuMemoryBytes();
  const nlohmann::json capabilities = {{"version", std::string(kVersion)},
                                       {"ops", names},
                                       {"rewritten_ops", quant::RewrittenOps()},
                                       {"export_opsets", {quant::kExportOpset, quant::kInt4Opset}},
                                       {"oldest_opset", quant::kOldestOpset},
                                       {"gpus", gpus},
                                       {"gpu_memory_bytes", memory}};
  std::cout << capabilities.dump() << "\n";
}

}  // namespace

void AddOpsCommand(CLI::App& app, int* exit_code) {
  auto json = std::make_shared<bool>(false);
  auto markdown = std::make_shared<bool>(false);
  CLI::App* command = app.add_subcommand("ops", "List the ONNX ops that models may use");
  command->footer(
      "Prints a Markdown table, or with --json what the agent tells the server (version, names of the ops, GPUs), and the opsets that changed\n"
      "the form of ops that are written at a newer opset than they had.\n\n"
      "Example:\n  pactory-trainer ops --json");
  CLI::Option* as_json = command->add_flag("--json", *json, "One line of JSON");
  command->add_flag("--markdown", *markdown, "A Markdown table (the default)")->excludes(as_json);
  command->callback([json, exit_code] {
    if (*json) PrintJson();
    else PrintMarkdown();
    *exit_code = kExitDone;
  });
}

}  // namespace pactory
