// The order in which mixed precision gives layers more bits. Used by ChoosePrecision. Stateless.
#pragma once

#include <vector>

#include "absl/types/span.h"
#include "pactory/v1/quantization.pb.h"
#include "quant/passes/insert_quantizers.h"
#include "quant/pipeline/sensitivity.h"

namespace pactory::quant {

/// One layer's next precision.
struct Upgrade {
  LayerSensitivity layer;
  /// More bits for weight and input; all in int8 but the activations, which are float; all float.
  enum class Precision { kSensitiveBits, kFloatActivations, kFloat } precision = Precision::kFloat;
  /// Part of the layer's output error that it takes away.
  double error = 0;
};

/// Returns the upgrades for a limit of size: each layer's to `sensitive_bits`, by error per weight. With `weights_alone` the error is that of
/// the weights: for activations that can be float without bytes. One layer is left out where all would be float.
std::vector<Upgrade> UpgradesByByte(absl::Span<const LayerSensitivity> layers, const v1::MixedPrecisionConfig& target, bool weights_alone);

/// Returns the upgrades by the error that each takes away: for float a layer's activations and then its weights, or both at once where
/// the weights cost more. One is left out where all layers would be float.
std::vector<Upgrade> UpgradesByError(absl::Span<const LayerSensitivity> layers, const v1::MixedPrecisionConfig& target);

/// Returns the float activations of those layers of `plan` whose input is quantized and that are not in `chosen`, by error.
std::vector<Upgrade> FloatActivations(absl::Span<const LayerSensitivity> layers, const QuantizationPlan& plan,
                                      absl::Span<const Upgrade> chosen);

/// Returns the last upgrade of each layer, in their order.
std::vector<Upgrade> LastOfEachLayer(absl::Span<const Upgrade> upgrades);

/// Returns the config with an override for each layer that is upgraded.
v1::QuantizationConfig WithUpgrades(v1::QuantizationConfig config, absl::Span<const Upgrade> upgrades);

}  // namespace pactory::quant
