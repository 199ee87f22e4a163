#include "quant/passes/ort_cpu_rules.h"

#include <algorithm>
#include <map>
#include <optional>
#include <vector>

#include "quant/passes/pattern.h"

namespace pactory::quant {
namespace {

// A Conv with fewer input channels than this is faster in float.
constexpr int64_t kLeastChannels = 8;

bool IsOneOf(const Node& node, const std::set<std::string>& ops) {
  return node.domain.empty() && ops.contains(node.op_type);
}

// Whether a value is N x C x 1 x 1: behind a pooling over the whole image, through ops that keep the size.
bool IsPooledToOne(const Graph& graph, const std::string& value, int depth = 0) {
  static const std::set<std::string> kKeepsSize = {"Relu", "HardSwish", "HardSigmoid", "Sigmoid", "Conv"};
  // Deeper than any squeeze-excite branch; also the bound against a hostile graph.
  constexpr int kMaxDepth = 16;
  const Node* node = graph.Producer(value);
  if (node == nullptr || depth > kMaxDepth) return false;
  if (IsOneOf(*node, {"GlobalAveragePool", "GlobalMaxPool"})) return true;
  if (IsOneOf(*node, {"ReduceMean"})) return node->IntOr("keepdims", 1) == 1;
  return IsOneOf(*node, kKeepsSize) && IsPooledToOne(graph, node->inputs[0], depth + 1);
}

bool IsDepthwise(const Node& node) { return IsOneOf(node, {"Conv"}) && node.IntOr("group", 1) > 1; }

// Rule 4: a layer that gains by int8 whatever stands around it.
bool GainsAlone(const Graph& graph, const Node& node) {
  if (IsOneOf(node, {"Gemm", "MatMul"})) return true;
  // What gives the model's output has no Q behind it.
  if (!IsOneOf(node, {"Conv"}) || node.IntOr("group", 1) != 1 || graph.IsOutput(node.outputs[0])) return false;
  const auto weight = graph.initializers.find(node.inputs[1]);
  return weight != graph.initializers.end() && weight->second.dim() > 1 && weight->second.size(1) >= kLeastChannels &&
         !IsPooledToOne(graph, node.inputs[0]);
}

// The layer that writes a value, looked at through a Relu or Clip.
const Node* WriterOf(const Graph& graph, const std::string& value) {
  const Node* node = graph.Producer(value);
  if (node != nullptr && IsAbsorbedByQuantizer(graph, *node)) node = graph.Producer(node->inputs[0]);
  return node;
}

// The nodes that read a value, looked at through Relus and Clips.
std::vector<const Node*> ReadersOf(const Graph& graph, const std::string& value) {
  std::vector<const Node*> readers;
  for (const Node* reader : graph.Consumers(value)) {
    if (!IsAbsorbedByQuantizer(graph, *reader)) {
      readers.push_back(reader);
      continue;
    }
    for (const Node* behind : graph.Consumers(reader->outputs[0])) readers.push_back(behind);
  }
  return readers;
}

}  // namespace

bool IsAbsorbedByQuantizer(const Graph& graph, const Node& node) {
  const std::optional<ClipRange> ends = ClippedTo(graph, node);
  return ends.has_value() && ends->high > 0 && (ends->low == 0 || ends->low == -ends->high);
}

bool MayGiveFloat(const Node& node) { return IsOneOf(node, {"Gemm", "MatMul"}); }

bool NeedsWeightZeroPoint(const Node& node) { return IsOneOf(node, {"Gemm"}); }

bool JoinsQuantizedValues(const Node& node) { return IsOneOf(node, {"Add"}); }

std::set<std::string> FindInt8Layers(const Graph& graph, const std::set<std::string>& candidates) {
  std::set<std::string> layers;
  for (const Node& node : graph.nodes) {
    if (candidates.contains(node.name) && GainsAlone(graph, node)) layers.insert(node.name);
  }
  // Rule 5: a depthwise Conv only where leaving int8 for it would cost more.
  std::set<std::string> between;
  for (const Node& node : graph.nodes) {
    if (!candidates.contains(node.name) || !IsDepthwise(node) || graph.IsOutput(node.outputs[0])) continue;
    const Node* writer = WriterOf(graph, node.inputs[0]);
    if (writer == nullptr || !layers.contains(writer->name)) continue;
    const std::vector<const Node*> readers = ReadersOf(graph, node.outputs[0]);
    const bool all_int8 = std::all_of(readers.begin(), readers.end(),
                                      [&](const Node* reader) { return layers.contains(reader->name); });
    if (!readers.empty() && all_int8) between.insert(node.name);
  }
  layers.insert(between.begin(), between.end());
  return layers;
}

}  // namespace pactory::quant
