#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "quant/pipeline/calibrate.h"
#include "quant/pipeline/stages.h"

namespace pactory::quant {
namespace {

// A range that still grows at the end would have grown on.
void WarnOfUnsettledRanges(PipelineState& state) {
  int64_t unsettled = 0, batches = 0;
  for (const auto& [id, trace] : state.traces) {
    batches = trace.batches();
    unsettled += 10 * trace.BatchesUntilStable() > 9 * batches;
  }
  // Of a few batches the last tenth is too little to tell.
  if (batches < 10 || unsettled == 0) return;
  state.report.warnings.push_back(absl::StrCat("max|x| of ", unsettled, " of ", state.traces.size(),
                                               " activations still grew by more than 1 % in the last tenth of calibration; where "
                                               "calibration.threshold is MAX, raise calibration.samples"));
}

}  // namespace

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
  auto calibration = Calibrate(state.quantized_graph, *state.train, options);
  if (!calibration.ok()) {
    const bool named = absl::IsCancelled(calibration.status()) || !ReasonOf(calibration.status()).empty();
    return named ? calibration.status() : WithReason(calibration.status(), "BAD_DATA");
  }
  state.histograms = std::move(calibration->histograms);
  state.traces = std::move(calibration->traces);
  WarnOfUnsettledRanges(state);
  return absl::OkStatus();
}

}  // namespace pactory::quant
