#include "quant/graph/graph.h"

#include <algorithm>
#include <queue>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "absl/strings/str_cat.h"

namespace pactory::quant {
namespace {

template <typename T>
const T* Find(const std::map<std::string, Attribute>& attributes, absl::string_view name) {
  const auto found = attributes.find(std::string(name));
  return found == attributes.end() ? nullptr : std::get_if<T>(&found->second);
}

template <typename Nodes, typename Pointer = decltype(&*std::declval<Nodes&>().begin())>
Pointer FindProducer(Nodes& nodes, absl::string_view value) {
  if (value.empty()) return nullptr;
  for (auto& node : nodes) {
    if (std::find(node.outputs.begin(), node.outputs.end(), value) != node.outputs.end()) return &node;
  }
  return nullptr;
}

template <typename Nodes, typename Pointer = decltype(&*std::declval<Nodes&>().begin())>
std::vector<Pointer> FindConsumers(Nodes& nodes, absl::string_view value) {
  std::vector<Pointer> consumers;
  if (value.empty()) return consumers;
  for (auto& node : nodes) {
    if (std::find(node.inputs.begin(), node.inputs.end(), value) != node.inputs.end()) consumers.push_back(&node);
  }
  return consumers;
}

}  // namespace

int64_t Node::IntOr(absl::string_view attribute, int64_t fallback) const {
  const int64_t* value = Find<int64_t>(attributes, attribute);
  return value != nullptr ? *value : fallback;
}

float Node::FloatOr(absl::string_view attribute, float fallback) const {
  const float* value = Find<float>(attributes, attribute);
  return value != nullptr ? *value : fallback;
}

std::string Node::StringOr(absl::string_view attribute, absl::string_view fallback) const {
  const std::string* value = Find<std::string>(attributes, attribute);
  return value != nullptr ? *value : std::string(fallback);
}

std::vector<int64_t> Node::IntsOr(absl::string_view attribute, std::vector<int64_t> fallback) const {
  const std::vector<int64_t>* value = Find<std::vector<int64_t>>(attributes, attribute);
  return value != nullptr ? *value : std::move(fallback);
}

bool Node::Has(absl::string_view attribute) const { return attributes.count(std::string(attribute)) > 0; }

std::vector<const Graph*> Node::Subgraphs() const {
  std::vector<const Graph*> graphs;
  for (const auto& [name, attribute] : attributes) {
    if (const auto* graph = std::get_if<std::shared_ptr<const Graph>>(&attribute)) graphs.push_back(graph->get());
  }
  return graphs;
}

int64_t Graph::opset() const {
  const auto found = opsets.find("");
  return found == opsets.end() ? 1 : found->second;
}

const Node* Graph::Producer(absl::string_view value) const { return FindProducer(nodes, value); }
Node* Graph::Producer(absl::string_view value) { return FindProducer(nodes, value); }
std::vector<Node*> Graph::Consumers(absl::string_view value) { return FindConsumers(nodes, value); }
std::vector<const Node*> Graph::Consumers(absl::string_view value) const { return FindConsumers(nodes, value); }

bool Graph::IsOutput(absl::string_view value) const {
  return std::any_of(outputs.begin(), outputs.end(), [&](const ValueInfo& output) { return output.name == value; });
}

void Graph::ReplaceUses(absl::string_view from, absl::string_view to) {
  for (Node& node : nodes) {
    for (std::string& input : node.inputs) {
      if (input == from) input = std::string(to);
    }
  }
}

std::string Graph::UniqueValueName(absl::string_view stem) const {
  std::unordered_set<std::string_view> used;
  for (const ValueInfo& input : inputs) used.insert(input.name);
  for (const ValueInfo& output : outputs) used.insert(output.name);
  for (const auto& [value, tensor] : initializers) used.insert(value);
  for (const Node& node : nodes) used.insert(node.outputs.begin(), node.outputs.end());
  std::string candidate(stem);
  for (int64_t number = 1; used.count(candidate) > 0; ++number) candidate = absl::StrCat(stem, "_", number);
  return candidate;
}

std::string Graph::UniqueNodeName(absl::string_view stem) const {
  std::unordered_set<std::string_view> used;
  for (const Node& node : nodes) used.insert(node.name);
  std::string candidate(stem);
  for (int64_t number = 1; used.count(candidate) > 0; ++number) candidate = absl::StrCat(stem, "_", number);
  return candidate;
}

void Graph::RemoveDeadCode() {
  std::unordered_set<std::string> live;
  for (const ValueInfo& output : outputs) live.insert(output.name);
  std::vector<Node> kept;
  // Backwards, so that each node is judged after all of its readers.
  for (auto node = nodes.rbegin(); node != nodes.rend(); ++node) {
    const bool read = std::any_of(node->outputs.begin(), node->outputs.end(),
                                  [&](const std::string& output) { return live.count(output) > 0; });
    if (!read) continue;
    live.insert(node->inputs.begin(), node->inputs.end());
    kept.push_back(std::move(*node));
  }
  std::reverse(kept.begin(), kept.end());
  nodes = std::move(kept);
  std::erase_if(initializers, [&](const auto& item) { return live.count(item.first) == 0; });
}

absl::Status Graph::Sort() {
  std::unordered_map<std::string_view, size_t> producer;
  for (size_t index = 0; index < nodes.size(); ++index) {
    for (const std::string& output : nodes[index].outputs) {
      if (!output.empty()) producer[output] = index;
    }
  }
  std::vector<std::vector<size_t>> readers(nodes.size());
  std::vector<size_t> waiting(nodes.size(), 0);
  for (size_t index = 0; index < nodes.size(); ++index) {
    for (const std::string& input : nodes[index].inputs) {
      const auto found = producer.find(input);
      if (found == producer.end()) continue;
      readers[found->second].push_back(index);
      ++waiting[index];
    }
  }
  // The smallest index first keeps the file's order wherever it is already valid.
  std::priority_queue<size_t, std::vector<size_t>, std::greater<>> ready;
  for (size_t index = 0; index < nodes.size(); ++index) {
    if (waiting[index] == 0) ready.push(index);
  }
  std::vector<size_t> order;
  while (!ready.empty()) {
    const size_t index = ready.top();
    ready.pop();
    order.push_back(index);
    for (const size_t reader : readers[index]) {
      if (--waiting[reader] == 0) ready.push(reader);
    }
  }
  if (order.size() != nodes.size()) {
    const auto stuck = std::find_if(waiting.begin(), waiting.end(), [](size_t count) { return count > 0; });
    return absl::InvalidArgumentError(
        absl::StrCat("nodes must not form a cycle: node=", nodes[stuck - waiting.begin()].name));
  }
  std::vector<Node> sorted;
  sorted.reserve(nodes.size());
  for (const size_t index : order) sorted.push_back(std::move(nodes[index]));
  nodes = std::move(sorted);
  return absl::OkStatus();
}

absl::Status Graph::Verify() const {
  std::unordered_set<std::string_view> defined = {""};
  for (const ValueInfo& input : inputs) {
    if (!defined.insert(input.name).second) {
      return absl::InternalError(absl::StrCat("graph inputs must have unique names: input=", input.name));
    }
  }
  for (const auto& [value, tensor] : initializers) {
    if (!tensor.defined()) return absl::InternalError(absl::StrCat("initializer must hold a tensor: name=", value));
    if (!defined.insert(value).second) {
      return absl::InternalError(absl::StrCat("initializer must not share an input's name: name=", value));
    }
  }
  std::unordered_set<std::string_view> names;
  for (const Node& node : nodes) {
    if (!names.insert(node.name).second) {
      return absl::InternalError(absl::StrCat("node names must be unique: node=", node.name));
    }
    for (const std::string& input : node.inputs) {
      if (defined.count(input) == 0) {
        return absl::InternalError(
            absl::StrCat("input must be defined before its use: node=", node.name, " input=", input));
      }
    }
    for (const std::string& output : node.outputs) {
      if (!output.empty() && !defined.insert(output).second) {
        return absl::InternalError(
            absl::StrCat("value must be written once: node=", node.name, " value=", output));
      }
    }
  }
  for (const ValueInfo& output : outputs) {
    if (output.name.empty() || defined.count(output.name) == 0) {
      return absl::InternalError(absl::StrCat("graph output must be written by a node: output=", output.name));
    }
  }
  return absl::OkStatus();
}

}  // namespace pactory::quant
