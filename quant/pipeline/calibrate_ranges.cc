#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "quant/pipeline/because.h"
#include "quant/pipeline/calibrate.h"
#include "quant/pipeline/choose_precision.h"
#include "quant/pipeline/choose_quantizers.h"
#include "quant/pipeline/choose_thresholds.h"
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

// Small: whole activations are held.
constexpr int64_t kProbeBatch = 8;

absl::Status PlaceQuantizers(PipelineState& state) {
  state.quantized_graph = state.graph;
  auto plan = InsertQuantizers(state.quantized_graph, state.config);
  if (!plan.ok()) return Because(plan.status(), "BAD_MODEL");
  state.plan = *std::move(plan);
  return absl::OkStatus();
}

absl::Status MeasureRanges(PipelineState& state, const std::function<absl::Status(double)>& on_share) {
  CalibrationOptions options;
  options.samples = state.config.calibration().samples();
  options.batch_size = state.config.training().batch_size();
  options.seed = state.config.training().seed();
  options.device = state.device;
  options.on_batch = on_share;
  auto calibration = Calibrate(state.quantized_graph, *state.train, options);
  if (!calibration.ok()) return Because(calibration.status(), "BAD_DATA");
  state.histograms = std::move(calibration->histograms);
  state.traces = std::move(calibration->traces);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<OutputProbe>> MakeProbe(PipelineState& state, int64_t samples) {
  // The samples that calibration starts with.
  const std::vector<int64_t> order = CalibrationOrder(*state.train, state.config.training().seed());
  const int64_t batch = state.fixed_batch > 0 ? state.fixed_batch : std::min(samples, kProbeBatch);
  const int64_t count = std::min<int64_t>((samples + batch - 1) / batch * batch, static_cast<int64_t>(order.size()) / batch * batch);
  std::vector<std::vector<at::Tensor>> batches;
  for (int64_t begin = 0; begin < std::max(count, int64_t{1}); begin += batch) {
    const int64_t size = std::min<int64_t>(batch, static_cast<int64_t>(order.size()) - begin);
    PACTORY_ASSIGN_OR_RETURN(Batch read, state.train->Read(absl::MakeConstSpan(order).subspan(begin, size)));
    batches.push_back(std::move(read.inputs));
  }
  return OutputProbe::Create(state.quantized_graph, std::move(batches), state.device);
}

absl::Status ChooseThresholds(PipelineState& state, const std::function<absl::Status(double)>& on_share) {
  state.thresholds.clear();
  if (state.config.calibration().threshold() != v1::CalibrationConfig::OUTPUT_ERROR) return absl::OkStatus();
  PACTORY_ASSIGN_OR_RETURN(const std::unique_ptr<OutputProbe> probe,
                           MakeProbe(state, state.config.calibration().search_samples()));
  PACTORY_ASSIGN_OR_RETURN(state.thresholds,
                           ChooseThresholdsByOutput(*probe, state.plan, state.histograms, state.config, on_share));
  return absl::OkStatus();
}

// Placement, ranges, thresholds and weight ranges of the present config; progress from `from` to `to`.
absl::Status PrepareRanges(PipelineState& state, double from, double to) {
  const auto part = [&](double begin, double end) {
    return [&state, low = from + (to - from) * begin, high = from + (to - from) * end](double share) {
      return state.meter.Advance(low + (high - low) * share);
    };
  };
  PACTORY_RETURN_IF_ERROR(PlaceQuantizers(state));
  PACTORY_RETURN_IF_ERROR(MeasureRanges(state, part(0, 0.5)));
  PACTORY_RETURN_IF_ERROR(ChooseThresholds(state, part(0.5, 1)));
  // Before the layers are ranked: one bit of the weights decides which are sensitive.
  return ChooseWeightRanges(state);
}

}  // namespace

absl::StatusOr<std::vector<LayerSensitivity>> RankLayers(PipelineState& state) {
  if (!state.sensitivity.empty()) return state.sensitivity;
  const int64_t samples = std::max<int64_t>(1, state.config.sensitivity_samples());
  PACTORY_ASSIGN_OR_RETURN(const std::unique_ptr<OutputProbe> probe, MakeProbe(state, samples));
  PACTORY_ASSIGN_OR_RETURN(const std::vector<QuantizerSpec> specs,
                           ChooseQuantizers(state.plan, state.histograms, state.config, state.thresholds));
  QuantizationPlan weights_alone = state.plan;
  weights_alone.activations.clear();
  for (WeightPlacement& weight : weights_alone.weights) weight.range = RangeInFloat(state.config);
  PACTORY_ASSIGN_OR_RETURN(const std::vector<QuantizerSpec> in_float, ChooseQuantizers(weights_alone, {}, state.config));
  PACTORY_ASSIGN_OR_RETURN(state.sensitivity,
                           MeasureSensitivity(*probe, state.graph, state.plan, specs, in_float,
                                              [&](double) { return state.meter.Advance(1); }));
  return state.sensitivity;
}

absl::Status CalibrateRanges(PipelineState& state) {
  PACTORY_RETURN_IF_ERROR(state.meter.Start("calibrate"));
  const bool mixed = state.config.has_mixed_precision();
  state.sensitivity.clear();
  state.precision_reasons.clear();
  PACTORY_RETURN_IF_ERROR(PrepareRanges(state, 0, mixed ? 0.4 : 0.8));
  if (state.config.sensitivity_samples() > 0) PACTORY_RETURN_IF_ERROR(RankLayers(state).status());
  if (mixed) {
    PACTORY_RETURN_IF_ERROR(ChoosePrecision(state));
    PACTORY_RETURN_IF_ERROR(PrepareRanges(state, 0.6, 1));
  }
  for (const std::string& warning : state.plan.warnings) state.report.warnings.push_back(warning);
  WarnOfUnsettledRanges(state);
  return absl::OkStatus();
}

}  // namespace pactory::quant
