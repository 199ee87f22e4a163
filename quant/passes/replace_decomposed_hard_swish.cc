#include "quant/passes/replace_decomposed_hard_swish.h"

#include <cmath>
#include <optional>
#include <string>

#include "quant/passes/pattern.h"

namespace pactory::quant {
namespace {

bool Near(std::optional<double> number, double expected) {
  return number.has_value() && std::abs(*number - expected) < 1e-5;
}

// Matches clip(x + 3, 0, 6) that only one node reads; returns x.
std::optional<std::string> MatchShiftedClip(Graph& graph, const std::string& value) {
  Node* clip = OnlyReadProducer(graph, value, "Clip");
  if (clip == nullptr || clip->inputs.empty()) return std::nullopt;
  std::optional<double> low;
  std::optional<double> high;
  if (graph.opset() < 11) {
    low = clip->FloatOr("min", -1);
    high = clip->FloatOr("max", -1);
  } else {
    if (clip->inputs.size() > 1) low = NumberOf(graph, clip->inputs[1]);
    if (clip->inputs.size() > 2) high = NumberOf(graph, clip->inputs[2]);
  }
  if (!Near(low, 0) || !Near(high, 6)) return std::nullopt;
  const Node* add = OnlyReadProducer(graph, clip->inputs[0], "Add");
  if (add == nullptr || add->inputs.size() != 2) return std::nullopt;
  if (Near(NumberOf(graph, add->inputs[1]), 3)) return add->inputs[0];
  if (Near(NumberOf(graph, add->inputs[0]), 3)) return add->inputs[1];
  return std::nullopt;
}

// Matches value / 6 or value * (1/6); returns the value divided.
std::optional<std::string> MatchSixth(const Graph& graph, const Node& node) {
  if (node.inputs.size() != 2) return std::nullopt;
  if (Is(node, "Div") && Near(NumberOf(graph, node.inputs[1]), 6)) return node.inputs[0];
  if (!Is(node, "Mul")) return std::nullopt;
  if (Near(NumberOf(graph, node.inputs[1]), 1.0 / 6)) return node.inputs[0];
  if (Near(NumberOf(graph, node.inputs[0]), 1.0 / 6)) return node.inputs[1];
  return std::nullopt;
}

// Matches clip(x + 3, 0, 6) / 6 or HardSigmoid(x; 1/6, 1/2); returns x.
std::optional<std::string> MatchGate(Graph& graph, const std::string& value) {
  Node* producer = graph.Producer(value);
  if (producer == nullptr || OnlyReader(graph, value) == nullptr) return std::nullopt;
  if (Is(*producer, "HardSigmoid") && producer->inputs.size() == 1) {
    const bool fits = Near(producer->FloatOr("alpha", 0.2f), 1.0 / 6) && Near(producer->FloatOr("beta", 0.5f), 0.5);
    return fits ? std::optional(producer->inputs[0]) : std::nullopt;
  }
  const std::optional<std::string> divided = MatchSixth(graph, *producer);
  return divided ? MatchShiftedClip(graph, *divided) : std::nullopt;
}

// Matches a * b where one side, given to `match`, comes from the other; returns that other.
template <typename Match>
std::optional<std::string> MatchProduct(const Node& node, Match match) {
  if (!Is(node, "Mul") || node.inputs.size() != 2) return std::nullopt;
  for (const int side : {0, 1}) {
    const std::optional<std::string> x = match(node.inputs[side]);
    if (x && *x == node.inputs[1 - side]) return x;
  }
  return std::nullopt;
}

// Returns x where `node` ends the pattern.
std::optional<std::string> MatchHardSwish(Graph& graph, const Node& node) {
  if (const auto x = MatchProduct(node, [&](const std::string& value) { return MatchGate(graph, value); })) return x;
  const std::optional<std::string> divided = MatchSixth(graph, node);
  if (!divided) return std::nullopt;
  const Node* product = OnlyReadProducer(graph, *divided, "Mul");
  if (product == nullptr) return std::nullopt;
  return MatchProduct(*product, [&](const std::string& value) { return MatchShiftedClip(graph, value); });
}

}  // namespace

absl::Status ReplaceDecomposedHardSwish(Graph& graph) {
  for (Node& node : graph.nodes) {
    const std::optional<std::string> x = MatchHardSwish(graph, node);
    if (!x) continue;
    node.op_type = "HardSwish";
    node.inputs = {*x};
    node.attributes.clear();
  }
  return absl::OkStatus();
}

}  // namespace pactory::quant
