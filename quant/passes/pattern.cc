#include "quant/passes/pattern.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

namespace pactory::quant {

const at::Tensor* ConstantOf(const Graph& graph, const std::string& value) {
  const auto found = graph.initializers.find(value);
  return found == graph.initializers.end() ? nullptr : &found->second;
}

std::optional<double> NumberOf(const Graph& graph, const std::string& value) {
  const at::Tensor* constant = ConstantOf(graph, value);
  if (constant == nullptr || constant->numel() != 1) return std::nullopt;
  return constant->to(at::kDouble).item<double>();
}

Node* OnlyReader(Graph& graph, const std::string& value) {
  if (graph.IsOutput(value)) return nullptr;
  const std::vector<Node*> readers = graph.Consumers(value);
  return readers.size() == 1 ? readers[0] : nullptr;
}

Node* OnlyReadProducer(Graph& graph, const std::string& value, absl::string_view op_type) {
  Node* producer = graph.Producer(value);
  if (producer == nullptr || !Is(*producer, op_type) || OnlyReader(graph, value) == nullptr) return nullptr;
  return producer;
}

bool Is(const Node& node, absl::string_view op_type) { return node.op_type == op_type && node.domain.empty(); }

std::optional<ClipRange> ClippedTo(const Graph& graph, const Node& node) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (Is(node, "Relu")) return ClipRange{0, kInfinity};
  if (!Is(node, "Clip")) return std::nullopt;
  ClipRange ends{-kInfinity, kInfinity};
  // Attributes before opset 11.
  if (graph.opset() < 11) {
    if (node.Has("min")) ends.low = node.FloatOr("min", 0);
    if (node.Has("max")) ends.high = node.FloatOr("max", 0);
    return ends;
  }
  for (size_t i = 1; i < node.inputs.size(); ++i) {
    if (node.inputs[i].empty()) continue;
    const std::optional<double> end = NumberOf(graph, node.inputs[i]);
    if (!end) return std::nullopt;
    (i == 1 ? ends.low : ends.high) = *end;
  }
  return ends;
}

std::string AddConstant(Graph& graph, absl::string_view stem, at::Tensor tensor) {
  const std::string name = graph.UniqueValueName(stem);
  graph.initializers[name] = std::move(tensor);
  return name;
}

bool Bypass(Graph& graph, const Node& node, const std::string& value) {
  const std::string replaced = node.outputs[0];
  if (!graph.IsOutput(replaced)) {
    graph.ReplaceUses(replaced, value);
    return true;
  }
  // Inputs, constants and other outputs of the graph keep their names.
  Node* producer = graph.Producer(value);
  if (producer == nullptr || graph.IsOutput(value)) return false;
  graph.ReplaceUses(value, replaced);
  // The bypassed node must not stay a second writer of the name, nor read it.
  Node* bypassed = graph.Producer(replaced);
  bypassed->outputs[0] = graph.UniqueValueName(replaced);
  std::replace(producer->outputs.begin(), producer->outputs.end(), value, replaced);
  return true;
}

}  // namespace pactory::quant
