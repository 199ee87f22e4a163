#include "quant/passes/widen_floats.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "quant/onnx/tensor.h"
#include "quant/ops/registry.h"
#include "quant/passes/pattern.h"

namespace pactory::quant {
namespace {

bool IsOtherFloat(at::ScalarType type) { return type == at::kHalf || type == at::kBFloat16 || type == at::kDouble; }

bool HasLayersOfOtherFloats(const Graph& graph) {
  return std::any_of(graph.nodes.begin(), graph.nodes.end(), [&](const Node& node) {
    const OpDefinition* op = FindOp(graph, node);
    if (op == nullptr || op->role != QuantizationRole::kWeighted) return false;
    const auto weight = graph.initializers.find(node.inputs[static_cast<size_t>(op->weight_input)]);
    return weight != graph.initializers.end() && IsOtherFloat(weight->second.scalar_type());
  });
}

// The attribute that names an element type; "" for ops without one.
const char* TypeAttribute(const Node& node) {
  if (!node.domain.empty()) return "";
  if (node.op_type == "Cast") return "to";
  if (node.op_type == "EyeLike") return "dtype";
  if (node.op_type == "DequantizeLinear") return "output_dtype";
  return node.op_type == "Attention" ? "softmax_precision" : "";
}

void WidenTensor(at::Tensor& tensor) {
  if (tensor.defined() && IsOtherFloat(tensor.scalar_type())) tensor = tensor.to(at::kFloat);
}

void WidenType(at::ScalarType& type) {
  if (IsOtherFloat(type)) type = at::kFloat;
}

void WidenValues(Graph& graph) {
  for (auto& [name, tensor] : graph.initializers) WidenTensor(tensor);
  for (Node& node : graph.nodes) {
    const std::string type_attribute = TypeAttribute(node);
    for (auto& [name, attribute] : node.attributes) {
      if (auto* tensor = std::get_if<at::Tensor>(&attribute)) {
        WidenTensor(*tensor);
      } else if (auto* type = std::get_if<int64_t>(&attribute); type != nullptr && name == type_attribute) {
        const absl::StatusOr<at::ScalarType> named = ScalarTypeOf(static_cast<int>(*type));
        if (named.ok() && IsOtherFloat(*named)) *type = *OnnxTypeOf(at::kFloat);
      } else if (auto* subgraph = std::get_if<std::shared_ptr<const Graph>>(&attribute)) {
        auto body = std::make_shared<Graph>(**subgraph);
        for (ValueInfo& input : body->inputs) WidenType(input.type);
        for (ValueInfo& output : body->outputs) WidenType(output.type);
        WidenValues(*body);
        *subgraph = std::move(body);
      }
    }
  }
}

void CastInputs(Graph& graph) {
  std::vector<Node> casts;
  for (const ValueInfo& input : graph.inputs) {
    if (!IsOtherFloat(input.type)) continue;
    Node cast;
    cast.op_type = "Cast";
    cast.name = graph.UniqueNodeName(input.name + "_cast");
    cast.inputs = {input.name};
    cast.outputs = {graph.UniqueValueName(input.name + "_float")};
    cast.attributes["to"] = static_cast<int64_t>(*OnnxTypeOf(at::kFloat));
    graph.ReplaceUses(input.name, cast.outputs[0]);
    casts.push_back(std::move(cast));
  }
  graph.nodes.insert(graph.nodes.begin(), casts.begin(), casts.end());
}

// Whether a node's first output has the type of its first input. More ops have; these are those that stand between two Casts.
bool KeepsType(const Graph& graph, const Node& node) {
  static const std::set<std::string> kFloatOps = {"BatchNormalization", "InstanceNormalization", "LayerNormalization", "LogSoftmax",
                                                  "ReduceMean", "Softmax"};
  const OpDefinition* op = FindOp(graph, node);
  return op != nullptr && (op->role != QuantizationRole::kFloatOnly || (node.domain.empty() && kFloatOps.contains(node.op_type)));
}

bool IsCastToFloat(const Node& node) { return Is(node, "Cast") && node.IntOr("to", 0) == *OnnxTypeOf(at::kFloat); }

void RemoveCastsOfFloats(Graph& graph) {
  std::set<std::string> floats;
  for (const ValueInfo& input : graph.inputs) {
    if (input.type == at::kFloat) floats.insert(input.name);
  }
  for (const auto& [name, tensor] : graph.initializers) {
    if (tensor.scalar_type() == at::kFloat) floats.insert(name);
  }
  std::vector<size_t> casts;
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    const bool reads_float = !node.inputs.empty() && floats.contains(node.inputs[0]);
    if (IsCastToFloat(node) && reads_float) casts.push_back(i);
    if (IsCastToFloat(node) || (reads_float && KeepsType(graph, node))) floats.insert(node.outputs[0]);
  }
  for (const size_t i : casts) Bypass(graph, graph.nodes[i], std::string(graph.nodes[i].inputs[0]));
}

}  // namespace

absl::Status WidenFloats(Graph& graph) {
  if (!HasLayersOfOtherFloats(graph)) return absl::OkStatus();
  WidenValues(graph);
  CastInputs(graph);
  RemoveCastsOfFloats(graph);
  return absl::OkStatus();
}

}  // namespace pactory::quant
