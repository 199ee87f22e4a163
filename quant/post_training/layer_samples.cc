#include "quant/post_training/layer_samples.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "quant/guard.h"
#include "quant/ops/registry.h"

namespace pactory::quant {
namespace {

bool IsSeenThrough(const Node& node) {
  return node.domain.empty() && (node.op_type == "Relu" || node.op_type == "LeakyRelu" || node.op_type == "HardSwish");
}

int64_t BytesOf(const at::Tensor& tensor) { return tensor.numel() * static_cast<int64_t>(tensor.element_size()); }

}  // namespace

absl::StatusOr<IsolatedLayer> IsolateLayer(QuantizedModel& model, const std::string& name) {
  const Graph& graph = model.graph();
  const auto found = std::find_if(graph.nodes.begin(), graph.nodes.end(), [&](const Node& node) { return node.name == name; });
  if (found == graph.nodes.end()) return absl::InternalError(absl::StrCat("layer must be in the graph: node=", name));
  const int weight_input = FindOp(graph, *found)->weight_input;
  IsolatedLayer layer{.input = found->inputs[0], .output = found->outputs[0]};
  if (found->op_type == "Gemm" || found->op_type == "MatMul") layer.channel_axis = -1;
  Graph alone;
  alone.opsets = graph.opsets;
  alone.nodes = {*found};
  alone.inputs = {{.name = found->inputs[0], .rank_known = false}, {.name = found->inputs[weight_input], .rank_known = false}};
  for (size_t i = 1; i < found->inputs.size(); ++i) {
    if (static_cast<int>(i) == weight_input || found->inputs[i].empty()) continue;
    // A bias on its grid is made of the initializer that the model trains.
    const Node* quantizer = graph.Producer(found->inputs[i]);
    const std::string& stored = quantizer == nullptr ? found->inputs[i] : quantizer->inputs[0];
    const auto constant = model.parameters().find(stored);
    if (constant == model.parameters().end()) {
      return absl::InternalError(absl::StrCat("bias must be stored: node=", name, " value=", stored));
    }
    alone.initializers[found->inputs[i]] = constant->second.detach().to(at::kCPU);
  }
  const std::vector<const Node*> readers = graph.Consumers(layer.output);
  if (readers.size() == 1 && !graph.IsOutput(layer.output) && IsSeenThrough(*readers[0])) {
    alone.nodes.push_back(*readers[0]);
    layer.output = readers[0]->outputs[0];
  }
  alone.outputs = {{.name = layer.output, .rank_known = false}};
  PACTORY_ASSIGN_OR_RETURN(layer.executor, Executor::Create(alone));
  layer.executor->To(model.parameters().at(graph.Producer(found->inputs[weight_input])->inputs[0]).device());
  return layer;
}

absl::StatusOr<LayerSamples> CollectLayerSamples(const IsolatedLayer& layer, Executor& quantized, Executor& fp32,
                                                 const CalibrationSamples& samples, int64_t max_bytes) {
  c10::NoGradGuard no_grad;
  std::vector<at::Tensor> inputs, targets;
  int64_t bytes = 0;
  for (int64_t begin = 0; begin < samples.size(); begin += samples.batch_size()) {
    PACTORY_ASSIGN_OR_RETURN(const std::vector<at::Tensor> batch, samples.Read(begin));
    PACTORY_ASSIGN_OR_RETURN(const std::vector<at::Tensor> read, quantized.Fetch(batch, {layer.input}));
    PACTORY_ASSIGN_OR_RETURN(const std::vector<at::Tensor> written, fp32.Fetch(batch, {layer.output}));
    const int64_t more = BytesOf(read[0]) + BytesOf(written[0]);
    if (!inputs.empty() && bytes + more > max_bytes) break;
    bytes += more;
    inputs.push_back(read[0]);
    targets.push_back(written[0]);
  }
  LayerSamples result;
  PACTORY_RETURN_IF_ERROR(GuardTorch("layer samples", [&] {
    result = {at::cat(inputs), at::cat(targets)};
    return absl::OkStatus();
  }));
  return result;
}

}  // namespace pactory::quant
