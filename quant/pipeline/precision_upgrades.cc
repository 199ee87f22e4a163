#include "quant/pipeline/precision_upgrades.h"

#include <algorithm>

#include "config/config_rules.h"

namespace pactory::quant {
namespace {

using Precision = Upgrade::Precision;

double ErrorOfActivations(const LayerSensitivity& layer) { return layer.error - layer.weight_error; }

void SortByError(std::vector<Upgrade>& upgrades) {
  std::stable_sort(upgrades.begin(), upgrades.end(), [](const Upgrade& a, const Upgrade& b) { return a.error > b.error; });
}

// A model without any quantizer is none.
void LeaveOneQuantized(std::vector<Upgrade>& upgrades, const v1::MixedPrecisionConfig& target) {
  if (target.sensitive_bits() == kFloatBits && !upgrades.empty()) upgrades.pop_back();
}

}  // namespace

std::vector<Upgrade> UpgradesByByte(absl::Span<const LayerSensitivity> layers, const v1::MixedPrecisionConfig& target, bool weights_alone) {
  const Precision precision = target.sensitive_bits() == kFloatBits ? Precision::kFloat : Precision::kSensitiveBits;
  std::vector<Upgrade> upgrades;
  for (const LayerSensitivity& layer : layers) {
    upgrades.push_back({.layer = layer, .precision = precision, .error = weights_alone ? layer.weight_error : layer.error});
  }
  std::stable_sort(upgrades.begin(), upgrades.end(), [](const Upgrade& a, const Upgrade& b) {
    return a.error * static_cast<double>(b.layer.params) > b.error * static_cast<double>(a.layer.params);
  });
  LeaveOneQuantized(upgrades, target);
  return upgrades;
}

std::vector<Upgrade> UpgradesByError(absl::Span<const LayerSensitivity> layers, const v1::MixedPrecisionConfig& target) {
  std::vector<Upgrade> upgrades;
  for (const LayerSensitivity& layer : layers) {
    const double activations = ErrorOfActivations(layer);
    if (target.sensitive_bits() != kFloatBits) {
      upgrades.push_back({.layer = layer, .precision = Precision::kSensitiveBits, .error = layer.error});
    } else if (activations > 0 && activations >= layer.weight_error) {
      // The second never comes before the first, as its error is no larger.
      upgrades.push_back({.layer = layer, .precision = Precision::kFloatActivations, .error = activations});
      upgrades.push_back({.layer = layer, .precision = Precision::kFloat, .error = layer.weight_error});
    } else {
      upgrades.push_back({.layer = layer, .precision = Precision::kFloat, .error = layer.error});
    }
  }
  SortByError(upgrades);
  LeaveOneQuantized(upgrades, target);
  return upgrades;
}

std::vector<Upgrade> FloatActivations(absl::Span<const LayerSensitivity> layers, const QuantizationPlan& plan,
                                      absl::Span<const Upgrade> chosen) {
  std::vector<Upgrade> upgrades;
  for (const LayerSensitivity& layer : layers) {
    const bool is_quantized = std::any_of(plan.layers.begin(), plan.layers.end(), [&](const LayerPlan& other) {
      return other.node == layer.node && !other.input_quantizer.empty();
    });
    const bool is_chosen =
        std::any_of(chosen.begin(), chosen.end(), [&](const Upgrade& other) { return other.layer.node == layer.node; });
    if (!is_quantized || is_chosen) continue;
    upgrades.push_back({.layer = layer, .precision = Precision::kFloatActivations, .error = ErrorOfActivations(layer)});
  }
  SortByError(upgrades);
  return upgrades;
}

std::vector<Upgrade> LastOfEachLayer(absl::Span<const Upgrade> upgrades) {
  std::vector<Upgrade> last;
  for (const Upgrade& upgrade : upgrades) {
    std::erase_if(last, [&](const Upgrade& other) { return other.layer.node == upgrade.layer.node; });
    last.push_back(upgrade);
  }
  return last;
}

v1::QuantizationConfig WithUpgrades(v1::QuantizationConfig config, absl::Span<const Upgrade> upgrades) {
  const int32_t bits = config.mixed_precision().sensitive_bits();
  for (const Upgrade& upgrade : LastOfEachLayer(upgrades)) {
    v1::LayerOverride* layer = config.add_overrides();
    layer->set_name(upgrade.layer.node);
    switch (upgrade.precision) {
      case Precision::kFloat: layer->set_skip(true); break;
      case Precision::kFloatActivations: layer->set_activation_bits(kFloatBits); break;
      case Precision::kSensitiveBits:
        layer->set_weight_bits(bits);
        layer->set_activation_bits(std::max(bits, config.activations().bits()));
        break;
    }
  }
  return config;
}

}  // namespace pactory::quant
