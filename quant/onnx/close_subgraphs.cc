#include "quant/onnx/close_subgraphs.h"

#include <unordered_map>
#include <utility>

#include "absl/strings/str_cat.h"

namespace pactory::quant {
namespace {

// What the subgraphs of one node read from outside: position among the node's inputs by name.
class Captures {
 public:
  explicit Captures(Node& node) : node_(node) {}

  int64_t PositionOf(const std::string& outer) {
    const auto [found, added] = positions_.emplace(outer, static_cast<int64_t>(node_.inputs.size()));
    if (added) node_.inputs.push_back(outer);
    return found->second;
  }

 private:
  Node& node_;
  std::unordered_map<std::string, int64_t> positions_;
};

std::string NewName(const std::string& stem, NameScope& scope) {
  std::string name = stem;
  // Counted from the number of names, so that thousands of equal stems are no thousands of tries each.
  for (size_t number = scope.own.size(); scope.Has(name); ++number) name = absl::StrCat(stem, "_", number);
  scope.own.insert(name);
  return name;
}

void Capture(Graph& graph, const std::string& inner, int64_t position) {
  graph.inputs.push_back({.name = inner, .type = at::kFloat, .dims = {}, .rank_known = false});
  graph.captured.push_back(position);
}

void Close(Graph& graph, Captures& captures, std::map<std::string, at::Tensor>& initializers, NameScope& scope) {
  std::unordered_set<std::string> defined = {""};
  for (const ValueInfo& input : graph.inputs) defined.insert(input.name);
  for (const auto& [name, tensor] : graph.initializers) defined.insert(name);
  for (const Node& node : graph.nodes) defined.insert(node.outputs.begin(), node.outputs.end());
  const auto read = [&](const std::string& name) {
    if (defined.insert(name).second) Capture(graph, name, captures.PositionOf(name));
  };
  for (const Node& node : graph.nodes) {
    for (const std::string& input : node.inputs) read(input);
  }
  for (const ValueInfo& output : graph.outputs) read(output.name);
  for (auto& [name, tensor] : graph.initializers) {
    const std::string outer = NewName(name, scope);
    initializers[outer] = std::move(tensor);
    Capture(graph, name, captures.PositionOf(outer));
  }
  graph.initializers.clear();
}

}  // namespace

bool NameScope::Has(const std::string& name) const {
  for (const NameScope* scope = this; scope != nullptr; scope = scope->outer) {
    if (scope->own.count(name) > 0) return true;
  }
  return false;
}

void CloseSubgraphs(Node& node, std::map<std::string, at::Tensor>& initializers, NameScope& scope) {
  // The trip count and the condition may be left out; what is appended must not take their places.
  if (node.op_type == "Loop" && node.domain.empty() && node.inputs.size() < 2) node.inputs.resize(2);
  Captures captures(node);
  for (auto& [name, attribute] : node.attributes) {
    auto* stored = std::get_if<std::shared_ptr<const Graph>>(&attribute);
    if (stored == nullptr) continue;
    Graph graph = **stored;
    Close(graph, captures, initializers, scope);
    *stored = std::make_shared<const Graph>(std::move(graph));
  }
}

}  // namespace pactory::quant
