#include "base/error.h"
#include "base/status_macros.h"
#include "quant/pipeline/calibrate.h"
#include "quant/pipeline/stages.h"

namespace pactory::quant {

absl::Status CalibrateRanges(PipelineState& state) {
  PACTORY_RETURN_IF_ERROR(state.meter.Start("calibrate"));
  state.quantized_graph = state.graph;
  auto plan = InsertQuantizers(state.quantized_graph, state.config);
  if (!plan.ok()) return ReasonOf(plan.status()).empty() ? WithReason(plan.status(), "BAD_MODEL") : plan.status();
  state.plan = *std::move(plan);
  for (const std::string& warning : state.plan.warnings) state.report.warnings.push_back(warning);
  CalibrationOptions options;
  options.samples = state.config.calibration().samples();
  options.batch_size = state.config.training().batch_size();
  options.seed = state.config.training().seed();
  options.device = state.device;
  options.on_batch = [&](double share) { return state.meter.Advance(share); };
  auto histograms = Calibrate(state.quantized_graph, *state.train, options);
  if (!histograms.ok()) {
    const bool named = absl::IsCancelled(histograms.status()) || !ReasonOf(histograms.status()).empty();
    return named ? histograms.status() : WithReason(histograms.status(), "BAD_DATA");
  }
  state.histograms = *std::move(histograms);
  return absl::OkStatus();
}

}  // namespace pactory::quant
