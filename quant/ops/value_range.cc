#include "quant/ops/value_range.h"

#include <ATen/ATen.h>

#include <map>
#include <string>

#include "quant/ops/registry.h"

namespace pactory::quant {
namespace {

// Answers are kept, so that a diamond of values is walked once.
bool Walk(const Graph& graph, const std::string& value, std::map<std::string, bool>& known) {
  const auto [entry, added] = known.emplace(value, false);
  if (!added) return entry->second;
  bool& answer = entry->second;
  if (const auto constant = graph.initializers.find(value); constant != graph.initializers.end()) {
    return answer = constant->second.numel() > 0 && (constant->second >= 0).all().item<bool>();
  }
  const Node* node = graph.Producer(value);
  if (node == nullptr) return false;
  // A quantizer keeps its input's sign.
  if (node->domain == "pactory") return answer = !node->inputs.empty() && Walk(graph, node->inputs[0], known);
  const OpDefinition* op = FindOp(graph, *node);
  if (op == nullptr) return false;
  if (op->non_negative || (op->non_negative_node && op->non_negative_node(graph, *node))) return answer = true;
  if (!op->keeps_non_negative) return false;
  // A pass-through op's further inputs are shapes, axes and indices, which say nothing of its values.
  const size_t count = op->role == QuantizationRole::kPassThrough ? 1 : node->inputs.size();
  for (size_t index = 0; index < count && index < node->inputs.size(); ++index) {
    if (!node->inputs[index].empty() && !Walk(graph, node->inputs[index], known)) return false;
  }
  return answer = !node->inputs.empty();
}

}  // namespace

bool IsNonNegative(const Graph& graph, absl::string_view value) {
  std::map<std::string, bool> known;
  return Walk(graph, std::string(value), known);
}

}  // namespace pactory::quant
