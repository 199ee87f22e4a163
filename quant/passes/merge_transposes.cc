#include "quant/passes/merge_transposes.h"

#include <algorithm>
#include <vector>

#include "quant/passes/pattern.h"

namespace pactory::quant {
namespace {

// Whether each dimension is named once; where not, running the node tells what is wrong.
bool IsOrder(std::vector<int64_t> perm) {
  std::sort(perm.begin(), perm.end());
  for (size_t i = 0; i < perm.size(); ++i) {
    if (perm[i] != static_cast<int64_t>(i)) return false;
  }
  return !perm.empty();
}

}  // namespace

absl::Status MergeTransposes(Graph& graph) {
  for (Node& second : graph.nodes) {
    if (!Is(second, "Transpose") || second.inputs.empty()) continue;
    const Node* first = OnlyReadProducer(graph, second.inputs[0], "Transpose");
    if (first == nullptr || first->inputs.empty()) continue;
    const std::vector<int64_t> inner = first->IntsOr("perm", {});
    const std::vector<int64_t> outer = second.IntsOr("perm", {});
    if (inner.size() != outer.size() || !IsOrder(inner) || !IsOrder(outer)) continue;
    std::vector<int64_t> merged;
    for (const int64_t axis : outer) merged.push_back(inner[static_cast<size_t>(axis)]);
    second.inputs[0] = first->inputs[0];
    second.attributes["perm"] = merged;
  }
  return absl::OkStatus();
}

}  // namespace pactory::quant
