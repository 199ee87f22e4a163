#include "quant/passes/fuse_matmul_add.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <string>

#include "quant/ops/registry.h"
#include "quant/passes/pattern.h"

namespace pactory::quant {
namespace {

// Whether a value is known to have two dimensions, from what the graph states on the way to it.
bool IsMatrix(const Graph& graph, const std::string& value) {
  std::string current = value;
  for (size_t steps = 0; steps <= graph.nodes.size(); ++steps) {
    for (const ValueInfo& input : graph.inputs) {
      if (input.name == current) return input.rank_known && input.dims.size() == 2;
    }
    const Node* node = graph.Producer(current);
    if (node == nullptr || node->inputs.empty()) return false;
    if (Is(*node, "Gemm") || Is(*node, "Flatten")) return true;
    if (Is(*node, "Reshape")) {
      const at::Tensor* shape = ConstantOf(graph, node->inputs[1]);
      return shape != nullptr && shape->numel() == 2;
    }
    if (Is(*node, "MatMul")) {
      const at::Tensor* weight = ConstantOf(graph, node->inputs[1]);
      if (weight == nullptr || weight->dim() != 2) return false;
    } else {
      // Activations keep the rank of their one varying input; constants that add dimensions end the search.
      const OpDefinition* op = FindOp(graph, *node);
      if (op == nullptr || op->role != QuantizationRole::kActivation) return false;
      for (size_t index = 1; index < node->inputs.size(); ++index) {
        const at::Tensor* other = ConstantOf(graph, node->inputs[index]);
        if (!node->inputs[index].empty() && (other == nullptr || other->dim() > 2)) return false;
      }
    }
    current = node->inputs[0];
  }
  return false;
}

// The Add's constant as a vector of `columns`; undefined where it is no bias of that length.
at::Tensor BiasOf(const Graph& graph, const Node& add, const std::string& product, int64_t columns) {
  const std::string& other = add.inputs[0] == product ? add.inputs[1] : add.inputs[0];
  const at::Tensor* bias = ConstantOf(graph, other);
  if (bias == nullptr || !bias->is_floating_point() || bias->dim() > 2) return {};
  const bool row = bias->numel() == columns && (bias->dim() == 0 || bias->size(-1) == columns);
  if (!row && bias->numel() != 1) return {};
  return bias->reshape({-1}).expand({columns}).contiguous();
}

}  // namespace

absl::Status FuseMatmulAdd(Graph& graph) {
  for (Node& node : graph.nodes) {
    if (!Is(node, "MatMul") || node.inputs.size() != 2) continue;
    const at::Tensor* weight = ConstantOf(graph, node.inputs[1]);
    if (weight == nullptr || weight->dim() != 2 || !weight->is_floating_point()) continue;
    Node* add = OnlyReader(graph, node.outputs[0]);
    if (add == nullptr || !Is(*add, "Add") || add->inputs.size() != 2) continue;
    const at::Tensor bias = BiasOf(graph, *add, node.outputs[0], weight->size(1));
    if (!bias.defined() || bias.scalar_type() != weight->scalar_type() || !IsMatrix(graph, node.inputs[0])) continue;
    // The Gemm takes the Add's place, whose output keeps its name; the MatMul is dead.
    add->op_type = "Gemm";
    add->inputs = {node.inputs[0], node.inputs[1], AddConstant(graph, node.name + "_bias", bias)};
    add->attributes = {};
  }
  return absl::OkStatus();
}

}  // namespace pactory::quant
