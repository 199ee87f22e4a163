#include "quant/ops/registry.h"

#include <algorithm>
#include <deque>
#include <tuple>
#include <utility>

namespace pactory::quant {
namespace {

// A function's static, so that it exists before the first registration of any file.
std::deque<OpDefinition>& OpTable() {
  static std::deque<OpDefinition> table;
  return table;
}

}  // namespace

OpRegistration::OpRegistration(OpDefinition definition) { OpTable().push_back(std::move(definition)); }

const OpDefinition* FindOp(absl::string_view domain, absl::string_view name, int64_t opset) {
  // "ai.onnx" is the long name of the default domain.
  if (domain == "ai.onnx") domain = "";
  for (const OpDefinition& definition : OpTable()) {
    if (definition.name == name && definition.domain == domain && definition.first_opset <= opset &&
        opset <= definition.last_opset) {
      return &definition;
    }
  }
  return nullptr;
}

const OpDefinition* FindOp(const Graph& graph, const Node& node) {
  const auto opset = graph.opsets.find(node.domain);
  return FindOp(node.domain, node.op_type, opset == graph.opsets.end() ? 1 : opset->second);
}

std::vector<const OpDefinition*> AllOps() {
  std::vector<const OpDefinition*> ops;
  for (const OpDefinition& definition : OpTable()) ops.push_back(&definition);
  std::sort(ops.begin(), ops.end(), [](const OpDefinition* a, const OpDefinition* b) {
    return std::tie(a->domain, a->name, a->first_opset) < std::tie(b->domain, b->name, b->first_opset);
  });
  return ops;
}

}  // namespace pactory::quant
