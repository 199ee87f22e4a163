#include "quant/pipeline/choose_quantizers.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "quant/observers/threshold.h"
#include "quant/passes/profile_rules.h"
#include "quant/quantizers/grid.h"
#include "quant/quantizers/registry.h"

namespace pactory::quant {
namespace {

// An end of an affine range is no further out than what was seen on its side; the grid of `threshold` decides how far in.
void SetBounds(const AbsHistogram& histogram, double threshold, QuantizerSpec& spec) {
  spec.low = -std::min(threshold, -histogram.min());
  spec.threshold = std::min(threshold, histogram.max());
  // The upper end is above 0 also for a tensor that never is.
  if (spec.threshold <= 0) spec.threshold = spec.low < 0 ? -spec.low * 1e-3 : 1;
}

// A baseline's config has no overrides: what they say of bits the plan has settled, and their methods are not the baseline's.
v1::QuantizerMethod MethodOf(v1::QuantizerMethod override_method, v1::QuantizerMethod method, const v1::QuantizationConfig& config) {
  const bool overridden = override_method != v1::QUANTIZER_METHOD_UNSPECIFIED && !config.overrides().empty();
  return overridden ? override_method : method;
}

v1::WeightConfig::WeightRange RangeOf(const WeightPlacement& placement, const v1::QuantizationConfig& config) {
  if (placement.override_range != v1::WeightConfig::WEIGHT_RANGE_UNSPECIFIED) return placement.override_range;
  return placement.range != v1::WeightConfig::WEIGHT_RANGE_UNSPECIFIED ? placement.range : ResolveWeightRange(config);
}

}  // namespace

absl::StatusOr<std::vector<QuantizerSpec>> ChooseQuantizers(const QuantizationPlan& plan,
                                                            const std::map<std::string, AbsHistogram>& histograms,
                                                            const v1::QuantizationConfig& config,
                                                            const std::map<std::string, double>& measured) {
  std::vector<QuantizerSpec> specs;
  for (const ActivationPlacement& placement : plan.activations) {
    const auto histogram = histograms.find(placement.id);
    if (histogram == histograms.end()) {
      return absl::InternalError(absl::StrCat("activation was not measured: ", placement.id));
    }
    QuantizerSpec spec;
    spec.id = placement.id;
    spec.method = MethodOf(placement.override_method, config.activations().method(), config);
    spec.bits = placement.bits;
    spec.signedness = placement.sign == Sign::kNonNegative              ? Signedness::kUnsigned
                      : HasFullSignedGrid(config.export_(), spec.bits) ? Signedness::kSignedFull
                                                                        : Signedness::kSigned;
    spec.moving_rate = config.activations().moving_rate();
    if (spec.method == v1::PACT && spec.signedness != Signedness::kUnsigned) spec.method = v1::PACT_TWO_SIDED;
    const QuantizerDefinition* definition = FindQuantizer(spec.method);
    if (definition == nullptr) {
      return absl::InternalError(absl::StrCat("method does not quantize: ", v1::QuantizerMethod_Name(spec.method)));
    }
    const bool two_ends = definition->affine && spec.signedness != Signedness::kUnsigned;
    const double init = config.activations().alpha().init();
    spec.window = config.activations().window();
    if (definition->learns_range && init > 0) {
      spec.threshold = init;
      if (two_ends) spec.low = -init;
    } else {
      const int64_t steps = ActivationGrid(spec.bits, spec.signedness).qmax;
      const auto found = measured.find(placement.id);
      const bool by_output = config.calibration().threshold() == v1::CalibrationConfig::OUTPUT_ERROR && found != measured.end();
      const double threshold = by_output ? found->second : ChooseThreshold(config.calibration(), histogram->second, steps);
      // Any grid holds a tensor of zeros.
      spec.threshold = threshold > 0 ? threshold : 1;
      if (two_ends) SetBounds(histogram->second, spec.threshold, spec);
    }
    specs.push_back(std::move(spec));
  }
  for (const WeightPlacement& placement : plan.weights) {
    QuantizerSpec spec;
    spec.id = placement.id;
    spec.method = MethodOf(placement.override_method, config.weights().method(), config);
    spec.bits = placement.bits;
    spec.target = QuantizerTarget::kWeight;
    spec.channel_axis = placement.channel_axis;
    spec.range = RangeOf(placement, config);
    specs.push_back(std::move(spec));
  }
  return specs;
}

v1::QuantizationConfig PtqBaseline(v1::QuantizationConfig config) {
  // One range or one per channel, and bits: that the plan has settled.
  config.mutable_weights()->set_method(v1::ABS_MAX);
  config.mutable_weights()->set_rounding(v1::WeightConfig::NEAREST);
  config.mutable_calibration()->set_bias_correction(false);
  config.mutable_activations()->set_method(v1::ABS_MAX);
  config.mutable_calibration()->set_threshold(v1::CalibrationConfig::MAX);
  config.clear_overrides();
  return config;
}

v1::QuantizationConfig PlainQatBaseline(v1::QuantizationConfig config) {
  config.mutable_weights()->set_method(v1::ABS_MAX);
  config.mutable_calibration()->set_bias_correction(false);
  config.mutable_activations()->set_method(v1::MOVING_AVERAGE_ABS_MAX);
  config.mutable_calibration()->set_threshold(v1::CalibrationConfig::MAX);
  config.clear_overrides();
  return config;
}

}  // namespace pactory::quant
