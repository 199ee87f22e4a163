#include "quant/pipeline/make_quantized_model.h"

#include <algorithm>
#include <vector>

#include "base/status_macros.h"
#include "quant/pipeline/calibrate.h"
#include "quant/pipeline/choose_quantizers.h"
#include "quant/post_training/correct_biases.h"
#include "quant/post_training/learn_rounding.h"

namespace pactory::quant {
namespace {

// The mean of a channel over so many images and all their positions is known well enough.
constexpr int64_t kBiasSamples = 128;

CalibrationSamples SamplesOf(const PipelineState& state, int64_t most) {
  std::vector<int64_t> order = CalibrationOrder(*state.train, state.config.training().seed());
  const int64_t batch = state.config.training().batch_size();
  int64_t count = std::min({static_cast<int64_t>(order.size()), most, int64_t{state.config.calibration().samples()}});
  // Whole batches, for models that take no other.
  if (count > batch) count -= count % batch;
  order.resize(static_cast<size_t>(count));
  return CalibrationSamples(*state.train, std::move(order), batch, state.device);
}

}  // namespace

absl::StatusOr<std::unique_ptr<QuantizedModel>> MakeQuantizedModel(PipelineState& state, const v1::QuantizationConfig& config) {
  PACTORY_ASSIGN_OR_RETURN(const std::vector<QuantizerSpec> specs, ChooseQuantizers(state.plan, state.histograms, config, state.thresholds));
  PACTORY_ASSIGN_OR_RETURN(std::unique_ptr<QuantizedModel> model, QuantizedModel::Create(state.quantized_graph, specs));
  model->To(state.device);
  const auto advance = [&](double share) { return state.meter.Advance(share); };
  if (config.weights().rounding() == v1::WeightConfig::ADAROUND) {
    PACTORY_RETURN_IF_ERROR(state.meter.Start("learn_rounding"));
    PACTORY_RETURN_IF_ERROR(LearnRounding(*model, *state.fp32, state.plan, SamplesOf(state, config.calibration().samples()),
                                          config.weights().adaround(), static_cast<uint64_t>(config.training().seed()), advance));
  }
  if (config.calibration().bias_correction()) {
    PACTORY_RETURN_IF_ERROR(state.meter.Start("correct_biases"));
    PACTORY_RETURN_IF_ERROR(CorrectBiases(*model, *state.fp32, state.plan, SamplesOf(state, kBiasSamples), advance));
  }
  return model;
}

}  // namespace pactory::quant
