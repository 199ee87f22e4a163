#include "quant/passes/own_biases.h"

#include <ATen/ATen.h>

#include <cstdint>
#include <optional>

#include "absl/strings/str_cat.h"
#include "quant/passes/pattern.h"

namespace pactory::quant {
namespace {

// Output channels of a layer that takes a bias.
std::optional<int64_t> BiasedChannels(const Node& node, const at::Tensor& weight) {
  if (Is(node, "Conv")) return weight.size(0);
  if (Is(node, "ConvTranspose")) return weight.size(1) * node.IntOr("group", 1);
  if (Is(node, "Gemm")) return weight.size(node.IntOr("transB", 0) != 0 ? 0 : 1);
  return std::nullopt;
}

}  // namespace

absl::Status OwnBiases(Graph& graph) {
  for (Node& node : graph.nodes) {
    const at::Tensor* weight = node.inputs.size() < 2 ? nullptr : ConstantOf(graph, node.inputs[1]);
    if (weight == nullptr || !weight->is_floating_point() || weight->dim() < 2) continue;
    const std::optional<int64_t> channels = BiasedChannels(node, *weight);
    if (!channels) continue;
    if (node.inputs.size() < 3 || node.inputs[2].empty()) {
      const at::Tensor zeros = at::zeros({*channels}, weight->options());
      node.inputs.resize(3);
      node.inputs[2] = AddConstant(graph, absl::StrCat(node.name, "_bias"), zeros);
    } else if (const at::Tensor* bias = ConstantOf(graph, node.inputs[2]);
               bias != nullptr && OnlyReader(graph, node.inputs[2]) == nullptr) {
      node.inputs[2] = AddConstant(graph, node.inputs[2], bias->clone());
    }
  }
  return absl::OkStatus();
}

}  // namespace pactory::quant
