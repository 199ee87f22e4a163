#include "quant/passes/layer_overrides.h"

#include "absl/strings/str_cat.h"

namespace pactory::quant {

bool MatchesGlob(absl::string_view pattern, absl::string_view text) {
  // Greedy with one point of return: the last `*`. Linear space, no recursion, whatever the pattern.
  size_t p = 0, t = 0, star = absl::string_view::npos, resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (p < pattern.size() && pattern[p] == text[t]) {
      ++p;
      ++t;
    } else if (star != absl::string_view::npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

LayerOverrides::LayerOverrides(const v1::QuantizationConfig& config)
    : config_(config), used_(static_cast<size_t>(config.overrides_size()), false) {}

LayerRule LayerOverrides::RuleOf(const Node& node) {
  LayerRule rule;
  for (int i = 0; i < config_.overrides_size(); ++i) {
    const v1::LayerOverride& entry = config_.overrides(i);
    if (entry.has_name() && !MatchesGlob(entry.name(), node.name)) continue;
    if (entry.has_op_type() && entry.op_type() != node.op_type) continue;
    used_[i] = true;
    if (entry.has_weight_bits()) rule.weight_bits = entry.weight_bits();
    if (entry.has_activation_bits()) {
      rule.activation_bits = entry.activation_bits();
      rule.reason = absl::StrCat("activations in float by overrides[", i, "]");
    }
    if (entry.weight_method() != v1::QUANTIZER_METHOD_UNSPECIFIED) rule.weight_method = entry.weight_method();
    if (entry.weight_range() != v1::WeightConfig::WEIGHT_RANGE_UNSPECIFIED) rule.weight_range = entry.weight_range();
    if (entry.activation_method() != v1::QUANTIZER_METHOD_UNSPECIFIED) rule.activation_method = entry.activation_method();
    if (entry.has_skip()) {
      rule.skip = entry.skip();
      rule.reason = absl::StrCat("skipped by overrides[", i, "]");
    }
  }
  return rule;
}

void LayerOverrides::AppendUnused(std::vector<std::string>& warnings) const {
  for (int i = 0; i < config_.overrides_size(); ++i) {
    if (used_[i]) continue;
    warnings.push_back(absl::StrCat("overrides[", i, "] matches no layer: name=", config_.overrides(i).name(),
                                    " op_type=", config_.overrides(i).op_type()));
  }
}

}  // namespace pactory::quant
