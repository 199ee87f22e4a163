#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "quant/guard.h"
#include "quant/pipeline/stages.h"
#include "quant/pipeline/write_file.h"

namespace pactory::quant {

absl::Status WriteModel(PipelineState& state) {
  PACTORY_RETURN_IF_ERROR(state.meter.Start("export"));
  const absl::Status exported = GuardTorch("export", [&]() -> absl::Status {
    PACTORY_ASSIGN_OR_RETURN(state.exported, ExportModel(*state.trained, state.plan));
    return absl::OkStatus();
  });
  if (!exported.ok()) {
    return ReasonOf(exported).empty() && absl::IsUnimplemented(exported) ? WithReason(exported, "UNSUPPORTED_OP") : exported;
  }
  for (const std::string& warning : state.exported.warnings) state.report.warnings.push_back(warning);
  state.exported_path = absl::StrCat(state.job.output_dir, "/model.int8.onnx");
  PACTORY_RETURN_IF_ERROR(WriteFile(state.exported_path, state.exported.bytes));
  state.report.int8_bytes = static_cast<int64_t>(state.exported.bytes.size());
  state.report.int8_breakdown = state.exported.sizes;
  std::ifstream original(state.job.model_path, std::ios::binary);
  std::ostringstream content;
  content << original.rdbuf();
  PACTORY_ASSIGN_OR_RETURN(state.report.fp32_breakdown, BreakDownSize(content.str()));
  return absl::OkStatus();
}

}  // namespace pactory::quant
