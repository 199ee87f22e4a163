// How much each layer's quantization alone moves the model's output. Used by the report, by mixed precision and by whoever keeps the
// most sensitive layers in float. Stateless.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "quant/passes/insert_quantizers.h"
#include "quant/pipeline/output_probe.h"

namespace pactory::quant {

/// One quantized layer.
struct LayerSensitivity {
  /// Its node, as an override names it.
  std::string node;
  /// Elements of its weight.
  int64_t params = 0;
  /// OutputProbe's error with all its quantizers on: of its weight, its input and, where it has one, its output.
  double error = 0;
  /// The same with its weight's quantizer alone, as it is where the layer is computed in float.
  double weight_error = 0;
};

/// Measures every layer of `plan` that has a weight quantizer, with the quantizers of `specs`; the most sensitive first. `in_float` has the
/// weights' quantizers as they are where layers are computed in float. `on_share` as in ChooseThresholdsByOutput.
absl::StatusOr<std::vector<LayerSensitivity>> MeasureSensitivity(OutputProbe& probe, const Graph& graph,
                                                                 const QuantizationPlan& plan,
                                                                 absl::Span<const QuantizerSpec> specs,
                                                                 absl::Span<const QuantizerSpec> in_float,
                                                                 const std::function<absl::Status(double share)>& on_share);

}  // namespace pactory::quant
