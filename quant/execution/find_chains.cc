#include "quant/execution/find_chains.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "quant/kernels/pointwise_chain.h"

namespace pactory::quant {
namespace {

// How often each value is read, the graph's outputs counted too.
std::map<std::string, int> CountReaders(const Graph& graph) {
  std::map<std::string, int> readers;
  for (const Node& node : graph.nodes) {
    for (const std::string& input : node.inputs) ++readers[input];
  }
  for (const ValueInfo& output : graph.outputs) ++readers[output.name];
  return readers;
}

// The node as a link whose chain comes in by its first input, or nothing where it is no stage.
std::optional<ChainLink> LinkOf(const Graph& graph, size_t index, const StageFactory& factory) {
  const Node& node = graph.nodes[index];
  if (node.inputs.empty() || node.outputs.size() != 1) return std::nullopt;
  ChainLink link{.node = index, .input = node.inputs[0]};
  if (node.domain == "pactory") {
    if (factory) link.make = factory(node);
  } else if (const OpDefinition* op = FindOp(graph, node); op != nullptr && op->stage) {
    link.make = op->stage(graph, node);
    if (op->stage_has_operand && node.inputs.size() != 2) return std::nullopt;
    if (op->stage_has_operand) link.other = node.inputs[1];
  }
  if (!link.make) return std::nullopt;
  for (const std::string& value : {link.input, link.other}) {
    if (graph.initializers.contains(value)) return std::nullopt;
  }
  return link;
}

}  // namespace

std::vector<std::vector<ChainLink>> FindChains(const Graph& graph, const StageFactory& factory) {
  const std::map<std::string, int> readers = CountReaders(graph);
  std::vector<std::vector<ChainLink>> chains;
  // The chain that a value is the end of.
  std::map<std::string, size_t> chain_of;
  const auto goes_on = [&](const std::string& value) {
    const auto chain = chain_of.find(value);
    return chain != chain_of.end() && readers.at(value) == 1 && chains[chain->second].size() < kMostChainStages;
  };
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    std::optional<ChainLink> link = LinkOf(graph, i, factory);
    if (!link.has_value()) continue;
    // A sum or product does not care for the order of its operands.
    if (!goes_on(link->input) && goes_on(link->other)) std::swap(link->input, link->other);
    size_t chain = chains.size();
    if (goes_on(link->input)) {
      chain = chain_of.at(link->input);
    } else {
      chains.emplace_back();
    }
    chains[chain].push_back(*std::move(link));
    chain_of[graph.nodes[i].outputs[0]] = chain;
  }
  chains.erase(std::remove_if(chains.begin(), chains.end(), [](const auto& chain) { return chain.size() < 2; }), chains.end());
  return chains;
}

}  // namespace pactory::quant
