#include "quant/passes/fold_constants.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "quant/allocation_limit.h"
#include "quant/guard.h"
#include "quant/onnx/tensor.h"
#include "quant/ops/registry.h"
#include "quant/passes/pattern.h"

namespace pactory::quant {
namespace {

// Small results always fold; larger ones must not grow the model.
constexpr size_t kAlwaysFoldedBytes = 1 << 20;

bool HasConstantInputs(const Graph& graph, const Node& node) {
  return !node.inputs.empty() && std::all_of(node.inputs.begin(), node.inputs.end(), [&](const std::string& input) {
    return input.empty() || ConstantOf(graph, input) != nullptr;
  });
}

// A few numbers in a file can ask for any amount of memory; what the file itself holds may still become float.
constexpr int64_t kLargestTensor = int64_t{1} << 29;

// The node's outputs; none where its kernel refuses the inputs, which is then told when the graph runs.
absl::StatusOr<std::vector<at::Tensor>> Evaluate(const Graph& graph, const Node& node) {
  std::vector<at::Tensor> outputs;
  const OpDefinition* op = FindOp(graph, node);
  if (op == nullptr) return outputs;
  size_t input_bytes = 0;
  std::vector<at::Tensor> inputs;
  for (const std::string& input : node.inputs) {
    inputs.push_back(input.empty() ? at::Tensor() : *ConstantOf(graph, input));
    if (inputs.back().defined()) input_bytes += inputs.back().nbytes();
  }
  const AllocationLimit limited(std::max<int64_t>(kLargestTensor, 4 * input_bytes));
  const absl::Status status = GuardTorch("fold", [&] {
    absl::StatusOr<Kernel> kernel = op->bind(node, graph.opset());
    if (!kernel.ok()) return kernel.status();
    outputs = (*kernel)(inputs);
    return absl::OkStatus();
  });
  if (absl::IsResourceExhausted(status)) {
    return absl::InvalidArgumentError(absl::StrCat("constants must not grow that large: node=", node.name, " (",
                                                   node.op_type, "): ", status.message()));
  }
  size_t output_bytes = 0;
  for (const at::Tensor& output : outputs) {
    if (output.defined()) output_bytes += output.numel() * output.element_size();
  }
  // Four times: a stored int8 weight becomes float.
  const size_t limit = std::max(kAlwaysFoldedBytes, 4 * input_bytes);
  if (!status.ok() || outputs.size() < node.outputs.size() || output_bytes > limit) outputs.clear();
  return outputs;
}

}  // namespace

absl::Status FoldConstants(Graph& graph) {
  const at::NoGradGuard no_grad;
  std::vector<Node> kept;
  for (Node& node : graph.nodes) {
    std::vector<at::Tensor> outputs;
    if (node.domain != "pactory" && HasConstantInputs(graph, node)) {
      PACTORY_ASSIGN_OR_RETURN(outputs, Evaluate(graph, node));
    }
    if (outputs.empty()) {
      kept.push_back(std::move(node));
      continue;
    }
    for (size_t index = 0; index < node.outputs.size(); ++index) {
      // Views would keep their base's memory, and share it.
      if (!node.outputs[index].empty()) graph.initializers[node.outputs[index]] = CopyOf(outputs[index]);
    }
  }
  graph.nodes = std::move(kept);
  return absl::OkStatus();
}

}  // namespace pactory::quant
