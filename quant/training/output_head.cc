#include "quant/training/output_head.h"

namespace pactory::quant {

std::string FindLogits(const Graph& graph) {
  std::string value = graph.outputs[0].name;
  const Node* node = graph.Producer(value);
  while (node != nullptr && node->op_type == "Identity") {
    value = node->inputs[0];
    node = graph.Producer(value);
  }
  const bool is_softmax = node != nullptr && node->domain.empty() &&
                          (node->op_type == "Softmax" || node->op_type == "LogSoftmax");
  return is_softmax ? node->inputs[0] : graph.outputs[0].name;
}

}  // namespace pactory::quant
