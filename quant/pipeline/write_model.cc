#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "quant/exporting/lint_model.h"
#include "quant/guard.h"
#include "quant/onnx/import.h"
#include "quant/pipeline/stages.h"
#include "quant/pipeline/write_file.h"

namespace pactory::quant {
namespace {

void ReportStorage(PipelineState& state) {
  int64_t dead = 0;
  for (size_t i = 0; i < state.report.layers.size(); ++i) {
    LayerReport& report = state.report.layers[i];
    if (const auto storage = state.exported.layers.find(report.name); storage != state.exported.layers.end()) {
      report.stored_bytes = storage->second.bytes;
      report.dead_channels = storage->second.dead_channels;
      dead += report.dead_channels;
    }
    const auto raised = state.exported.raised_channels.find(state.plan.layers[i].weight);
    if (raised != state.exported.raised_channels.end()) report.raised_channels = raised->second;
  }
  if (dead > 0) {
    state.report.warnings.push_back(
        absl::StrCat(dead, " output channel(s) have weights that are all 0 in the file (layers[].dead_channels)"));
  }
}

// What is written keeps to the rules that `pactory-trainer lint` holds others' files against.
absl::Status LintWritten(PipelineState& state) {
  PACTORY_ASSIGN_OR_RETURN(const Graph written, ImportOnnx(state.exported.bytes));
  std::vector<LintFinding> findings;
  PACTORY_RETURN_IF_ERROR(GuardTorch("lint", [&] {
    findings = LintModel(written, state.config.export_().profile());
    return absl::OkStatus();
  }));
  for (const LintFinding& finding : findings) {
    const std::string text = absl::StrCat(finding.rule, ": ", finding.node, finding.node.empty() ? "" : ": ", finding.message);
    if (finding.severity == LintSeverity::kError) {
      return absl::InternalError(absl::StrCat("the written file must keep to the rules of its profile: ", text));
    }
    state.report.lint.push_back(text);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status WriteModel(PipelineState& state) {
  PACTORY_RETURN_IF_ERROR(state.meter.Start("export"));
  const absl::Status exported = GuardTorch("export", [&]() -> absl::Status {
    PACTORY_ASSIGN_OR_RETURN(state.exported, ExportModel(*state.trained, state.plan, state.config.export_()));
    return absl::OkStatus();
  });
  if (!exported.ok()) {
    return ReasonOf(exported).empty() && absl::IsUnimplemented(exported) ? WithReason(exported, "UNSUPPORTED_OP") : exported;
  }
  for (const std::string& warning : state.exported.warnings) state.report.warnings.push_back(warning);
  PACTORY_RETURN_IF_ERROR(LintWritten(state));
  state.exported_path = absl::StrCat(state.job.output_dir, "/model.int8.onnx");
  PACTORY_RETURN_IF_ERROR(WriteFile(state.exported_path, state.exported.bytes));
  state.report.int8_bytes = static_cast<int64_t>(state.exported.bytes.size());
  state.report.int8_breakdown = state.exported.sizes;
  ReportStorage(state);
  std::ifstream original(state.job.model_path, std::ios::binary);
  std::ostringstream content;
  content << original.rdbuf();
  PACTORY_ASSIGN_OR_RETURN(state.report.fp32_breakdown, BreakDownSize(content.str()));
  return absl::OkStatus();
}

}  // namespace pactory::quant
