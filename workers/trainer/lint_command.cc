// `pactory-trainer lint`: holds a quantized file against the rules of a runtime.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "quant/exporting/lint_model.h"
#include "quant/onnx/import.h"
#include "workers/trainer/commands.h"

namespace pactory {
namespace {

struct LintOptions {
  std::string model;
  std::string profile = "ORT_CPU";
  bool json = false;
};

const char* SeverityName(const quant::LintFinding& finding) {
  return finding.severity == quant::LintSeverity::kError ? "error" : "warning";
}

void PrintFindings(const std::vector<quant::LintFinding>& findings, int64_t errors) {
  for (const quant::LintFinding& finding : findings) {
    std::cout << SeverityName(finding) << " [" << finding.rule << "] ";
    if (!finding.node.empty()) std::cout << finding.node << " (" << finding.op_type << "): ";
    std::cout << finding.message << "\n";
  }
  std::cout << errors << " error(s), " << static_cast<int64_t>(findings.size()) - errors << " warning(s)\n";
}

void PrintFindingsJson(const LintOptions& options, const std::vector<quant::LintFinding>& findings, int64_t errors) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const quant::LintFinding& finding : findings) {
    list.push_back({{"severity", SeverityName(finding)},
                    {"rule", finding.rule},
                    {"node", finding.node},
                    {"op", finding.op_type},
                    {"message", finding.message}});
  }
  const nlohmann::ordered_json json = {{"profile", options.profile},
                                       {"errors", errors},
                                       {"warnings", static_cast<int64_t>(findings.size()) - errors},
                                       {"findings", list}};
  // Names come from the file and may be no UTF-8.
  std::cout << json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) << "\n";
}

int Lint(const LintOptions& options) {
  v1::ExportConfig::Profile profile;
  if (!v1::ExportConfig::Profile_Parse(options.profile, &profile)) return kExitUsage;
  const auto graph = quant::ImportOnnxFile(options.model);
  if (!graph.ok()) {
    std::cerr << "pactory-trainer: " << graph.status().message() << "\n";
    return kExitRefused;
  }
  const std::vector<quant::LintFinding> findings = quant::LintModel(*graph, profile);
  const int64_t errors = std::count_if(findings.begin(), findings.end(), [](const quant::LintFinding& finding) {
    return finding.severity == quant::LintSeverity::kError;
  });
  if (options.json) PrintFindingsJson(options, findings, errors);
  else PrintFindings(findings, errors);
  return errors == 0 ? kExitDone : kExitFailed;
}

}  // namespace

void AddLintCommand(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<LintOptions>();
  CLI::App* command = app.add_subcommand("lint", "Check a quantized file against the rules of a runtime");
  command->footer(
      "Whoever wrote the file. An error is what the runtime refuses or computes otherwise, a warning what makes it slower or less\n"
      "exact.\n\n"
      "Exit codes: 0 no error, 1 errors, 2 usage, 3 the file can't be read.\n\n"
      "Example:\n  pactory-trainer lint model.int8.onnx --profile TENSORRT");
  command->add_option("model", options->model, "ONNX file")->required();
  command->add_option("--profile", options->profile, "Runtime")
      ->transform(CLI::IsMember({"ORT_CPU", "OPENVINO", "TENSORRT", "QOPERATOR"}, CLI::ignore_case))
      ->capture_default_str();
  command->add_flag("--json", options->json, "JSON instead of text");
  command->callback([options, exit_code] { *exit_code = Lint(*options); });
}

}  // namespace pactory
