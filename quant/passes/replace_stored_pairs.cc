#include "quant/passes/replace_stored_pairs.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <map>
#include <optional>
#include <string>

#include "quant/passes/pattern.h"

namespace pactory::quant {
namespace {

// Ends of the integer types that pairs have; nothing for 8-bit floats, which do not saturate at a step.
std::optional<ClipRange> IntegersOf(const Graph& graph, const Node& quantize) {
  const at::Tensor* zero_point = quantize.inputs.size() > 2 ? ConstantOf(graph, quantize.inputs[2]) : nullptr;
  if (quantize.inputs.size() < 3 && quantize.IntOr("output_dtype", 0) == 0) return ClipRange{0, 255};
  if (zero_point == nullptr) return std::nullopt;
  switch (zero_point->scalar_type()) {
    case at::kByte: return ClipRange{0, 255};
    case at::kChar: return ClipRange{-128, 127};
    case at::kUInt16: return ClipRange{0, 65535};
    case at::kShort: return ClipRange{-32768, 32767};
    default: return std::nullopt;
  }
}

std::optional<double> NumberAt(const Graph& graph, const Node& node, size_t input) {
  // ONNX: no zero point is one of 0.
  if (node.inputs.size() <= input || node.inputs[input].empty()) return input == 2 ? std::optional(0.0) : std::nullopt;
  return NumberOf(graph, node.inputs[input]);
}

// What Q and DQ let through together; nothing where they are no pair.
std::optional<ClipRange> RangeOfPair(const Graph& graph, const Node& quantize, const Node& dequantize) {
  const std::optional<ClipRange> integers = IntegersOf(graph, quantize);
  const std::optional<double> scale = NumberAt(graph, quantize, 1), zero = NumberAt(graph, quantize, 2);
  if (!integers || !scale || !zero || NumberAt(graph, dequantize, 1) != scale || NumberAt(graph, dequantize, 2) != zero) {
    return std::nullopt;
  }
  ClipRange range{(integers->low - *zero) * *scale, (integers->high - *zero) * *scale};
  if (range.low < 0) {
    range.high = std::max(range.high, -range.low);
    range.low = -range.high;
  }
  return range;
}

// Takes the Relu or Clip that alone writes `input` into `range`; returns what is read then.
std::string TakeInFront(Graph& graph, const std::string& input, ClipRange& range) {
  const Node* before = graph.Producer(input);
  if (before == nullptr || OnlyReader(graph, input) == nullptr) return input;
  const std::optional<ClipRange> clipped = ClippedTo(graph, *before);
  if (!clipped || clipped->low > range.high || clipped->high < range.low) return input;
  range = {std::max(range.low, clipped->low), std::min(range.high, clipped->high)};
  return before->inputs[0];
}

void MakeClip(Graph& graph, Node& node, const std::string& input, const ClipRange& range) {
  node.op_type = "Clip";
  node.attributes.clear();
  node.inputs = {input};
  // Inputs since opset 11.
  if (graph.opset() < 11) {
    node.attributes["min"] = static_cast<float>(range.low);
    node.attributes["max"] = static_cast<float>(range.high);
    return;
  }
  const std::string& output = node.outputs[0];
  node.inputs.push_back(AddConstant(graph, output + "_low", at::scalar_tensor(range.low, at::kFloat)));
  node.inputs.push_back(AddConstant(graph, output + "_high", at::scalar_tensor(range.high, at::kFloat)));
}

}  // namespace

void ReplaceStoredPairs(Graph& graph) {
  // By the integers that they read: the other readers of a pair whose first is replaced.
  std::map<std::string, std::string> replaced;
  for (Node& node : graph.nodes) {
    if (!Is(node, "DequantizeLinear")) continue;
    const std::string integers = node.inputs[0];
    const Node* quantize = graph.Producer(integers);
    if (quantize == nullptr || !Is(*quantize, "QuantizeLinear")) continue;
    std::optional<ClipRange> range = RangeOfPair(graph, *quantize, node);
    if (!range) continue;
    if (const auto first = replaced.find(integers); first != replaced.end() && !graph.IsOutput(node.outputs[0])) {
      graph.ReplaceUses(std::string(node.outputs[0]), first->second);
      continue;
    }
    const std::string input = TakeInFront(graph, quantize->inputs[0], *range);
    MakeClip(graph, node, input, *range);
    replaced.emplace(integers, node.outputs[0]);
  }
  graph.RemoveDeadCode();
}

}  // namespace pactory::quant
