#include "quant/passes/inline_branches.h"

#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "quant/passes/pattern.h"

namespace pactory::quant {
namespace {

class Inliner {
 public:
  explicit Inliner(Graph& graph) : graph_(graph) {
    for (const ValueInfo& input : graph.inputs) values_.insert(input.name);
    for (const auto& [value, tensor] : graph.initializers) values_.insert(value);
    for (const Node& node : graph.nodes) {
      values_.insert(node.outputs.begin(), node.outputs.end());
      names_.insert(node.name);
    }
  }

  absl::Status Run() {
    std::vector<Node> nodes = std::move(graph_.nodes);
    graph_.nodes.clear();
    for (Node& node : nodes) Append(std::move(node));
    return graph_.Sort();
  }

 private:
  // The branch that the node takes, where that is known.
  std::shared_ptr<const Graph> TakenBranch(const Node& node) const {
    if (!Is(node, "If") || node.inputs.empty()) return nullptr;
    const std::optional<double> condition = NumberOf(graph_, node.inputs[0]);
    if (!condition) return nullptr;
    const auto found = node.attributes.find(*condition != 0 ? "then_branch" : "else_branch");
    if (found == node.attributes.end()) return nullptr;
    const auto* branch = std::get_if<std::shared_ptr<const Graph>>(&found->second);
    if (branch == nullptr) return nullptr;
    // Bind refuses branches that don't fit, with a message.
    const bool fits = (*branch)->inputs.size() == (*branch)->captured.size() &&
                      (*branch)->outputs.size() == node.outputs.size();
    return fits ? *branch : nullptr;
  }

  void Append(Node node) {
    const std::shared_ptr<const Graph> branch = TakenBranch(node);
    if (branch == nullptr) {
      graph_.nodes.push_back(std::move(node));
      return;
    }
    std::unordered_map<std::string, std::string> renamed = {{"", ""}};
    for (size_t index = 0; index < branch->captured.size(); ++index) {
      renamed[branch->inputs[index].name] = node.inputs[branch->captured[index]];
    }
    for (size_t index = 0; index < node.outputs.size(); ++index) {
      if (node.outputs[index].empty()) continue;
      // A value that comes from outside, or that is given out twice, has its name already.
      const auto [known, added] = renamed.emplace(branch->outputs[index].name, node.outputs[index]);
      if (!added) AppendIdentity(node.name, known->second, node.outputs[index]);
    }
    for (const Node& inner : branch->nodes) {
      Node copy = inner;
      copy.name = Fresh(absl::StrCat(node.name, "/", inner.name), names_);
      for (std::string& input : copy.inputs) input = renamed.at(input);
      for (std::string& output : copy.outputs) {
        const auto [entry, added] = renamed.emplace(output, "");
        if (added) entry->second = Fresh(absl::StrCat(node.name, "/", output), values_);
        output = entry->second;
      }
      Append(std::move(copy));
    }
  }

  void AppendIdentity(const std::string& node, const std::string& from, const std::string& to) {
    Node identity;
    identity.op_type = "Identity";
    identity.name = Fresh(absl::StrCat(node, "/output"), names_);
    identity.inputs = {from};
    identity.outputs = {to};
    graph_.nodes.push_back(std::move(identity));
  }

  static std::string Fresh(const std::string& stem, std::unordered_set<std::string>& taken) {
    std::string name = stem;
    for (size_t number = 1; !taken.insert(name).second; ++number) name = absl::StrCat(stem, "_", number);
    return name;
  }

  Graph& graph_;
  std::unordered_set<std::string> values_;
  std::unordered_set<std::string> names_;
};

}  // namespace

absl::Status InlineBranches(Graph& graph) { return Inliner(graph).Run(); }

}  // namespace pactory::quant
