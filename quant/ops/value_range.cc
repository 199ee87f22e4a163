#include "quant/ops/value_range.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <set>
#include <string>

#include "quant/ops/registry.h"

namespace pactory::quant {
namespace {

bool IsNonNegativeConstant(const at::Tensor& tensor) {
  return tensor.numel() > 0 && (tensor >= 0).all().item<bool>();
}

bool NodeGivesNonNegative(const Graph& graph, const Node& node, const std::set<std::string>& non_negative) {
  const auto holds = [&](const std::string& input) {
    if (input.empty() || non_negative.count(input) > 0) return true;
    const auto constant = graph.initializers.find(input);
    return constant != graph.initializers.end() && IsNonNegativeConstant(constant->second);
  };
  // A quantizer keeps its input's sign.
  if (node.domain == "pactory") return !node.inputs.empty() && holds(node.inputs[0]);
  const OpDefinition* op = FindOp(graph, node);
  if (op == nullptr || node.inputs.empty()) return false;
  if (op->non_negative || (op->non_negative_node && op->non_negative_node(graph, node))) return true;
  if (!op->keeps_non_negative) return false;
  // A pass-through op's further inputs are shapes, axes and indices, which say nothing of its values.
  if (op->role == QuantizationRole::kPassThrough) return holds(node.inputs[0]);
  return std::all_of(node.inputs.begin(), node.inputs.end(), holds);
}

}  // namespace

bool IsNonNegative(const Graph& graph, absl::string_view value) {
  if (const auto constant = graph.initializers.find(std::string(value)); constant != graph.initializers.end()) {
    return IsNonNegativeConstant(constant->second);
  }
  std::set<std::string> non_negative;
  for (const Node& node : graph.nodes) {
    if (NodeGivesNonNegative(graph, node, non_negative)) non_negative.insert(node.outputs.begin(), node.outputs.end());
    if (std::find(node.outputs.begin(), node.outputs.end(), value) != node.outputs.end()) break;
  }
  return non_negative.count(std::string(value)) > 0;
}

}  // namespace pactory::quant
