#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "quant/pipeline/environment.h"
#include "quant/pipeline/stages.h"
#include "quant/pipeline/write_file.h"
#include "quant/report/manifest.h"
#include "quant/report/report_html.h"
#include "quant/report/report_json.h"

namespace pactory::quant {
namespace {

// What makes the same model again: a training that a clock or a person ended is ended by its step.
v1::QuantizationConfig RepeatableConfig(const PipelineState& state) {
  v1::QuantizationConfig config = state.config;
  const TrainingHistory& history = state.report.history;
  if (history.ended_early.empty() || history.steps.empty()) return config;
  config.mutable_training()->set_last_step(static_cast<int32_t>(history.steps.back().step));
  config.mutable_training()->set_max_seconds(0);
  return config;
}

Manifest ManifestOf(const PipelineState& state, absl::string_view report_json) {
  const Report& report = state.report;
  return {.job = report.job,
          .model_sha256 = state.model_sha256,
          .train_data_sha256 = state.train_sha256,
          .eval_data_sha256 = state.eval_sha256,
          .output_sha256 = Sha256Hex(state.exported.bytes),
          .report_sha256 = Sha256Hex(report_json),
          .runtime = absl::StrCat(report.runtime_name, report.runtime_name.empty() ? "" : " ", report.runtime_version),
          .environment = report.environment,
          .config = RepeatableConfig(state)};
}

}  // namespace

absl::Status WriteReports(PipelineState& state) {
  PACTORY_RETURN_IF_ERROR(state.meter.Start("report"));
  state.report.timing = state.meter.timing();
  state.report.environment = DescribeEnvironment(state.device);
  state.report.config = state.config;
  const std::string json = ReportToJson(state.report);
  const std::string folder = absl::StrCat(state.job.output_dir, "/");
  PACTORY_RETURN_IF_ERROR(WriteFile(folder + "report.json", json));
  PACTORY_RETURN_IF_ERROR(WriteFile(folder + "report.html", ReportToHtml(state.report)));
  return WriteFile(folder + "manifest.json", ManifestToJson(ManifestOf(state, json)));
}

}  // namespace pactory::quant
