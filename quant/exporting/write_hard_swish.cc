#include "quant/exporting/write_hard_swish.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace pactory::quant {

void WriteHardSwish(Graph& graph) {
  const size_t count = graph.nodes.size();
  std::vector<Node> nodes;
  for (size_t i = 0; i < count; ++i) {
    Node& node = graph.nodes[i];
    if (!node.domain.empty() || node.op_type != "HardSwish") {
      nodes.push_back(node);
      continue;
    }
    Node gate;
    gate.op_type = "HardSigmoid";
    gate.name = graph.UniqueNodeName(absl::StrCat(node.name, "_gate"));
    gate.inputs = {node.inputs[0]};
    gate.outputs = {graph.UniqueValueName(absl::StrCat(node.outputs[0], "_gate"))};
    gate.attributes["alpha"] = 1.0f / 6.0f;
    gate.attributes["beta"] = 0.5f;
    node.op_type = "Mul";
    node.attributes.clear();
    node.inputs = {node.inputs[0], gate.outputs[0]};
    nodes.push_back(std::move(gate));
    nodes.push_back(node);
  }
  graph.nodes = std::move(nodes);
}

}  // namespace pactory::quant
