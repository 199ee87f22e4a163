#include "quant/passes/remove_identity.h"

#include <ATen/ATen.h>

#include <numeric>
#include <optional>

#include "quant/onnx/tensor.h"
#include "quant/passes/pattern.h"

namespace pactory::quant {
namespace {

// The element type of a value where the graph states it: inputs, constants, results of Cast and Shape.
std::optional<at::ScalarType> TypeOf(const Graph& graph, const std::string& value) {
  if (const at::Tensor* constant = ConstantOf(graph, value)) return constant->scalar_type();
  for (const ValueInfo& input : graph.inputs) {
    if (input.name == value) return input.type;
  }
  const Node* producer = graph.Producer(value);
  if (producer == nullptr) return std::nullopt;
  if (Is(*producer, "Shape")) return at::kLong;
  if (!Is(*producer, "Cast")) return std::nullopt;
  const absl::StatusOr<at::ScalarType> type = ScalarTypeOf(static_cast<int>(producer->IntOr("to", 0)));
  return type.ok() ? std::optional(*type) : std::nullopt;
}

bool KeepsOrder(const Node& node) {
  const std::vector<int64_t> order = node.IntsOr("perm", {});
  std::vector<int64_t> same(order.size());
  std::iota(same.begin(), same.end(), 0);
  return !order.empty() && order == same;
}

bool GivesInputOut(const Graph& graph, const Node& node) {
  if (node.inputs.empty() || node.inputs[0].empty() || node.outputs.empty()) return false;
  if (Is(node, "Identity")) return true;
  if (Is(node, "Dropout")) {
    const bool mask_read = node.outputs.size() > 1 && (!graph.Consumers(node.outputs[1]).empty() ||
                                                       graph.IsOutput(node.outputs[1]));
    const bool trains = node.inputs.size() > 2 && !node.inputs[2].empty() &&
                        NumberOf(graph, node.inputs[2]).value_or(1) != 0;
    return !mask_read && !trains;
  }
  if (Is(node, "Transpose")) return KeepsOrder(node);
  if (Is(node, "Concat")) return node.inputs.size() == 1;
  if (Is(node, "Cast")) {
    const absl::StatusOr<at::ScalarType> type = ScalarTypeOf(static_cast<int>(node.IntOr("to", 0)));
    return type.ok() && TypeOf(graph, node.inputs[0]) == *type;
  }
  return false;
}

}  // namespace

absl::Status RemoveIdentity(Graph& graph) {
  // Nodes stay where they are; those that nobody reads any more go as dead code.
  for (size_t index = 0; index < graph.nodes.size(); ++index) {
    const Node& node = graph.nodes[index];
    if (GivesInputOut(graph, node)) Bypass(graph, node, std::string(node.inputs[0]));
  }
  return absl::OkStatus();
}

}  // namespace pactory::quant
