#include "quant/passes/split_fused_ops.h"

#include <ATen/ATen.h>

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "quant/passes/pattern.h"

namespace pactory::quant {
namespace {

bool IsMicrosoft(const Node& node, absl::string_view op) {
  return node.domain == "com.microsoft" && node.op_type == op;
}

// Appends a node that takes over `output`, and lets `before` write a value of its own, which the node reads first.
Node& Continue(Graph& graph, size_t before, std::string op) {
  Node next;
  next.op_type = std::move(op);
  next.name = graph.UniqueNodeName(absl::StrCat(graph.nodes[before].name, "_", next.op_type));
  next.outputs = {graph.nodes[before].outputs[0]};
  const std::string between = graph.UniqueValueName(absl::StrCat(next.outputs[0], "_before_", next.op_type));
  graph.nodes[before].outputs[0] = between;
  next.inputs = {between};
  graph.nodes.push_back(std::move(next));
  return graph.nodes.back();
}

std::vector<float> ParametersOf(const Node& node) {
  const auto found = node.attributes.find("activation_params");
  if (found == node.attributes.end()) return {};
  const auto* values = std::get_if<std::vector<float>>(&found->second);
  return values == nullptr ? std::vector<float>() : *values;
}

void AppendActivation(Graph& graph, size_t layer, const std::string& activation, const std::vector<float>& parameters) {
  Node& node = Continue(graph, layer, activation);
  if (activation == "LeakyRelu" && !parameters.empty()) node.attributes["alpha"] = parameters[0];
  if (activation == "HardSigmoid" && parameters.size() == 2) {
    node.attributes["alpha"] = parameters[0];
    node.attributes["beta"] = parameters[1];
  }
  if (activation != "Clip" || parameters.size() != 2) return;
  if (graph.opset() < 11) {
    node.attributes["min"] = parameters[0];
    node.attributes["max"] = parameters[1];
    return;
  }
  for (const float bound : parameters) {
    node.inputs.push_back(AddConstant(graph, "clip_bound", at::scalar_tensor(bound, at::kFloat)));
  }
}

void SplitLayer(Graph& graph, size_t index, const char* op) {
  static const std::set<std::string> known = {"", "Relu", "LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid", "Clip"};
  const std::string activation = graph.nodes[index].StringOr("activation", "");
  const std::vector<float> parameters = ParametersOf(graph.nodes[index]);
  if (known.count(activation) == 0) return;
  {
    Node& layer = graph.nodes[index];
    layer.domain.clear();
    layer.op_type = op;
    layer.attributes.erase("activation");
    layer.attributes.erase("activation_params");
  }
  size_t last = index;
  if (graph.nodes[index].inputs.size() > 3) {
    const std::string sum = graph.nodes[index].inputs[3];
    graph.nodes[index].inputs.resize(3);
    if (!sum.empty()) {
      Continue(graph, index, "Add").inputs.push_back(sum);
      last = graph.nodes.size() - 1;
    }
  }
  if (!activation.empty()) AppendActivation(graph, last, activation, parameters);
}

void SplitMatMul(Graph& graph, size_t index) {
  Node& node = graph.nodes[index];
  if (node.inputs.size() != 2 || node.IntOr("transA", 0) != 0 || node.IntOr("transBatchA", 0) != 0 ||
      node.IntOr("transBatchB", 0) != 0) {
    return;
  }
  const at::Tensor* weight = ConstantOf(graph, node.inputs[1]);
  const bool transpose = node.IntOr("transB", 0) != 0;
  if (weight == nullptr || (transpose && weight->dim() < 2)) return;
  const float alpha = node.FloatOr("alpha", 1);
  const at::Tensor stored = transpose ? weight->transpose(-1, -2).contiguous() : *weight;
  if (transpose) node.inputs[1] = AddConstant(graph, node.inputs[1], stored);
  node.domain.clear();
  node.op_type = "MatMul";
  node.attributes.clear();
  if (alpha == 1) return;
  const std::string factor = AddConstant(graph, "alpha", at::full({}, alpha, stored.options()));
  Continue(graph, index, "Mul").inputs.push_back(factor);
}

}  // namespace

absl::Status SplitFusedOps(Graph& graph) {
  const size_t count = graph.nodes.size();
  for (size_t index = 0; index < count; ++index) {
    if (graph.nodes[index].outputs.empty() || graph.nodes[index].outputs[0].empty()) continue;
    if (IsMicrosoft(graph.nodes[index], "FusedConv")) SplitLayer(graph, index, "Conv");
    else if (IsMicrosoft(graph.nodes[index], "FusedGemm")) SplitLayer(graph, index, "Gemm");
    else if (IsMicrosoft(graph.nodes[index], "FusedMatMul")) SplitMatMul(graph, index);
  }
  return graph.Sort();
}

}  // namespace pactory::quant
