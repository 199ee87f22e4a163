// Makes a node's subgraphs read nothing but their inputs. Used by import. Stateless.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <unordered_set>

#include "quant/graph/graph.h"

namespace pactory::quant {

/// The names that a graph defines, and those of the graphs around it.
struct NameScope {
  const NameScope* outer = nullptr;
  int depth = 0;
  std::unordered_set<std::string> own;

  bool Has(const std::string& name) const;
};

/// Appends every outer value that `node`'s subgraphs read to the node's inputs, and gives the subgraphs inputs for them
/// (Graph::captured). Their constants become initializers of the graph around, under names that are new in `scope`. So
/// passes see what a subgraph reads, and parameters stand in one place.
void CloseSubgraphs(Node& node, std::map<std::string, at::Tensor>& initializers, NameScope& scope);

}  // namespace pactory::quant
