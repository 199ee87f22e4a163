#include "quant/pipeline/sensitivity.h"

#include <algorithm>

#include "base/status_macros.h"

namespace pactory::quant {

absl::StatusOr<std::vector<LayerSensitivity>> MeasureSensitivity(OutputProbe& probe, const Graph& graph,
                                                                 const QuantizationPlan& plan,
                                                                 absl::Span<const QuantizerSpec> specs,
                                                                 const std::function<absl::Status(double share)>& on_share) {
  std::vector<LayerSensitivity> layers;
  for (size_t i = 0; i < plan.layers.size(); ++i) {
    const LayerPlan& layer = plan.layers[i];
    if (layer.weight_quantizer.empty()) continue;
    std::vector<QuantizerSpec> own;
    for (const QuantizerSpec& spec : specs) {
      if (spec.id == layer.weight_quantizer || spec.id == layer.input_quantizer) own.push_back(spec);
    }
    PACTORY_ASSIGN_OR_RETURN(const double error, probe.ErrorOf(own));
    layers.push_back({.node = layer.node, .params = graph.initializers.at(layer.weight).numel(), .error = error});
    PACTORY_RETURN_IF_ERROR(on_share(static_cast<double>(i + 1) / static_cast<double>(plan.layers.size())));
  }
  std::stable_sort(layers.begin(), layers.end(),
                   [](const LayerSensitivity& a, const LayerSensitivity& b) { return a.error > b.error; });
  return layers;
}

}  // namespace pactory::quant
