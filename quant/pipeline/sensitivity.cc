#include "quant/pipeline/sensitivity.h"

#include <algorithm>

#include "base/status_macros.h"

namespace pactory::quant {

absl::StatusOr<std::vector<LayerSensitivity>> MeasureSensitivity(OutputProbe& probe, const Graph& graph,
                                                                 const QuantizationPlan& plan,
                                                                 absl::Span<const QuantizerSpec> specs,
                                                                 absl::Span<const QuantizerSpec> in_float,
                                                                 const std::function<absl::Status(double share)>& on_share) {
  std::vector<LayerSensitivity> layers;
  for (size_t i = 0; i < plan.layers.size(); ++i) {
    const LayerPlan& layer = plan.layers[i];
    if (layer.weight_quantizer.empty()) continue;
    std::vector<QuantizerSpec> own;
    for (const QuantizerSpec& spec : specs) {
      for (const std::string* id : {&layer.weight_quantizer, &layer.input_quantizer, &layer.output_quantizer}) {
        if (spec.id == *id) own.push_back(spec);
      }
    }
    LayerSensitivity measured{.node = layer.node, .params = graph.initializers.at(layer.weight).numel()};
    PACTORY_ASSIGN_OR_RETURN(measured.error, probe.ErrorOf(own));
    measured.weight_error = measured.error;
    for (const QuantizerSpec& spec : in_float) {
      if (layer.input_quantizer.empty() || spec.id != layer.weight_quantizer) continue;
      PACTORY_ASSIGN_OR_RETURN(measured.weight_error, probe.ErrorOf({&spec, 1}));
    }
    layers.push_back(std::move(measured));
    PACTORY_RETURN_IF_ERROR(on_share(static_cast<double>(i + 1) / static_cast<double>(plan.layers.size())));
  }
  std::stable_sort(layers.begin(), layers.end(),
                   [](const LayerSensitivity& a, const LayerSensitivity& b) { return a.error > b.error; });
  return layers;
}

}  // namespace pactory::quant
