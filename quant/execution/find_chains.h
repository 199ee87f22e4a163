// Finds elementwise nodes that may run as one (quant/kernels/pointwise_chain.h). Used by the executor's plan alone. Stateless.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "quant/graph/graph.h"
#include "quant/ops/registry.h"

namespace pactory::quant {

/// Makes the stages of nodes that the op table does not know; an empty StageMaker where a node is none.
using StageFactory = std::function<StageMaker(const Node&)>;

/// A node of a chain.
struct ChainLink {
  /// Its place in Graph::nodes.
  size_t node = 0;
  StageMaker make;
  /// The value that goes through the chain, and the other operand; empty where there is none.
  std::string input;
  std::string other;
};

/// Returns chains of two nodes or more, each the only reader of the one before, whose output is not one of the graph's. A node is in
/// one chain at most.
std::vector<std::vector<ChainLink>> FindChains(const Graph& graph, const StageFactory& factory);

}  // namespace pactory::quant
