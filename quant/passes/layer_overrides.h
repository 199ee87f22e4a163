// The overrides of a config, applied to nodes: which rule holds for a layer. Used by insert_quantizers. Not thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "pactory/v1/quantization.pb.h"
#include "quant/graph/graph.h"

namespace pactory::quant {

/// What the overrides say of one layer.
struct LayerRule {
  bool skip = false;
  /// Which override leaves it or its activations in float, for the report.
  std::string reason;
  std::optional<int64_t> weight_bits;
  std::optional<int64_t> activation_bits;
  /// Unspecified where no override says.
  v1::QuantizerMethod weight_method = v1::QUANTIZER_METHOD_UNSPECIFIED;
  v1::WeightConfig::WeightRange weight_range = v1::WeightConfig::WEIGHT_RANGE_UNSPECIFIED;
  v1::QuantizerMethod activation_method = v1::QUANTIZER_METHOD_UNSPECIFIED;
};

/// Whether `text` matches `pattern`, where `*` stands for any characters.
bool MatchesGlob(absl::string_view pattern, absl::string_view text);

/// The overrides of one config.
class LayerOverrides {
 public:
  explicit LayerOverrides(const v1::QuantizationConfig& config);

  /// Returns the rule of a node; of several overrides that set the same, the last wins.
  LayerRule RuleOf(const Node& node);

  /// Adds a warning for each override that no node matched.
  void AppendUnused(std::vector<std::string>& warnings) const;

 private:
  const v1::QuantizationConfig& config_;
  std::vector<bool> used_;
};

}  // namespace pactory::quant
