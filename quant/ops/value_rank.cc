#include "quant/ops/value_rank.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace pactory::quant {
namespace {

using Ranks = std::map<std::string, int64_t>;

std::optional<int64_t> Known(const Ranks& ranks, const std::string& value) {
  const auto found = ranks.find(value);
  return found == ranks.end() ? std::nullopt : std::optional<int64_t>(found->second);
}

// The largest rank of all inputs; nothing where one is unknown.
std::optional<int64_t> Broadcast(const Ranks& ranks, const Node& node) {
  int64_t largest = 0;
  for (const std::string& input : node.inputs) {
    const std::optional<int64_t> rank = Known(ranks, input);
    if (!rank.has_value()) return std::nullopt;
    largest = std::max(largest, *rank);
  }
  return largest;
}

// Number of axes that a node names in its attribute or, since opset 13, in an input.
std::optional<int64_t> AxesOf(const Graph& graph, const Node& node) {
  if (node.Has("axes")) return static_cast<int64_t>(node.IntsOr("axes", {}).size());
  if (node.inputs.size() < 2) return std::nullopt;
  const auto axes = graph.initializers.find(node.inputs[1]);
  return axes == graph.initializers.end() ? std::nullopt : std::optional<int64_t>(axes->second.numel());
}

std::optional<int64_t> RankOfNode(const Graph& graph, const Node& node, const Ranks& ranks) {
  static const std::set<std::string> kBroadcast = {"Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Where", "MatMul"};
  static const std::set<std::string> kKeeps = {
      "Abs",        "AveragePool", "BatchNormalization", "Cast",          "Clip",        "Concat",
      "Conv",       "Dropout",     "Elu",                "Erf",           "Exp",         "Gelu",
      "HardSwish",  "HardSigmoid", "Identity",           "LayerNormalization", "LeakyRelu", "LogSoftmax",
      "MaxPool",    "Mish",        "Neg",                "Pad",           "Relu",        "Resize",
      "Sigmoid",    "Slice",       "Softmax",            "Softplus",      "Split",       "Sqrt",
      "Tanh",       "Transpose",   "ConvTranspose",      "GlobalAveragePool", "QuantizeLinear", "DequantizeLinear"};
  if (node.inputs.empty()) return std::nullopt;
  const std::optional<int64_t> input = Known(ranks, node.inputs[0]);
  if (node.domain == "pactory" || (node.domain.empty() && kKeeps.contains(node.op_type))) {
    // A permutation tells the rank where the input does not.
    if (node.Has("perm")) return static_cast<int64_t>(node.IntsOr("perm", {}).size());
    return input;
  }
  if (!node.domain.empty()) return std::nullopt;
  if (kBroadcast.contains(node.op_type)) return Broadcast(ranks, node);
  if (node.op_type == "Gemm" || node.op_type == "Flatten") return 2;
  if (node.op_type == "Reshape" && node.inputs.size() > 1) {
    const auto shape = graph.initializers.find(node.inputs[1]);
    return shape == graph.initializers.end() ? std::nullopt : std::optional<int64_t>(shape->second.numel());
  }
  const bool reduces = node.op_type.starts_with("Reduce");
  if (reduces && node.IntOr("keepdims", 1) == 1) return input;
  const std::optional<int64_t> axes = AxesOf(graph, node);
  if (!input.has_value() || !axes.has_value()) return std::nullopt;
  if (node.op_type == "Unsqueeze") return *input + *axes;
  if (node.op_type == "Squeeze" || reduces) return *input - *axes;
  return std::nullopt;
}

}  // namespace

std::optional<int64_t> RankOf(const Graph& graph, absl::string_view value) {
  for (const ValueInfo& output : graph.outputs) {
    if (output.name == value && output.rank_known && !output.dims.empty()) return static_cast<int64_t>(output.dims.size());
  }
  Ranks ranks;
  for (const ValueInfo& input : graph.inputs) {
    if (input.rank_known) ranks[input.name] = static_cast<int64_t>(input.dims.size());
  }
  for (const auto& [name, tensor] : graph.initializers) ranks[name] = tensor.dim();
  for (const Node& node : graph.nodes) {
    const std::optional<int64_t> rank = RankOfNode(graph, node, ranks);
    if (!rank.has_value()) continue;
    for (const std::string& output : node.outputs) ranks[output] = *rank;
  }
  return Known(ranks, std::string(value));
}

}  // namespace pactory::quant
