#include "workers/trainer/model_summary.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "quant/allocation_limit.h"
#include "quant/execution/executor.h"
#include "quant/guard.h"
#include "quant/passes/insert_quantizers.h"
#include "quant/passes/pass_runner.h"

namespace pactory {
namespace {

using quant::Graph;
using quant::Node;

void AddOps(const Graph& graph, std::map<std::string, int64_t>& counts) {
  for (const Node& node : graph.nodes) {
    ++counts[node.op_type];
    for (const Graph* subgraph : node.Subgraphs()) AddOps(*subgraph, counts);
  }
}

std::map<std::string, int64_t> CountOps(const Graph& graph) {
  std::map<std::string, int64_t> counts;
  AddOps(graph, counts);
  return counts;
}

absl::StatusOr<std::vector<at::Tensor>> ZeroInputs(const Graph& graph, const SampleShapes& shapes) {
  std::vector<at::Tensor> inputs;
  for (const quant::ValueInfo& info : graph.inputs) {
    std::vector<int64_t> dims = info.dims;
    const auto given = shapes.find(info.name);
    if (given != shapes.end()) {
      dims = {1};
      dims.insert(dims.end(), given->second.begin(), given->second.end());
    }
    if (!dims.empty() && dims[0] < 0) dims[0] = 1;
    const bool rank_known = info.rank_known || given != shapes.end();
    if (!rank_known || std::any_of(dims.begin(), dims.end(), [](int64_t dim) { return dim < 0; })) {
      return absl::FailedPreconditionError(
          absl::StrCat("the model leaves dimensions of input ", info.name, " open; give them with --sample-shape ", info.name, "=..."));
    }
    inputs.push_back(at::zeros(dims, at::TensorOptions().dtype(info.type)));
  }
  return inputs;
}

// Two operations for each multiplication with a weight: the product and its sum.
int64_t FlopsOf(const Node& node, const quant::OpDefinition& op, const at::Tensor& weight, const at::Tensor& input,
                const at::Tensor& output) {
  if (weight.numel() == 0) return 0;
  // Each element of a transposed convolution's input meets every weight of its channel.
  if (node.op_type == "ConvTranspose") return 2 * input.numel() * (weight.numel() / weight.size(0));
  if (node.op_type == "MatMul") return 2 * output.numel() * weight.size(std::max<int64_t>(0, weight.dim() - 2));
  return 2 * output.numel() * (weight.numel() / weight.size(op.channel_axis(node, weight)));
}

// A recurrent op's steps, each with every weight of input and recurrence; x is steps x batch x features.
int64_t RecurrentFlops(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& recurrence) {
  return x.dim() < 2 ? 0 : 2 * x.size(0) * x.size(1) * (weight.numel() + recurrence.numel());
}

bool IsRecurrent(const Node& node) {
  return node.domain.empty() && node.inputs.size() > 2 &&
         (node.op_type == "LSTM" || node.op_type == "GRU" || node.op_type == "RNN");
}

// A look at a model must not take the memory that a job for it would.
constexpr int64_t kLargestTensorOfALook = int64_t{1} << 29;

// Runs one sample of zeros and takes the shapes it meets.
absl::Status CountFlops(const Graph& graph, const SampleShapes& shapes, ModelSummary& summary) {
  const quant::AllocationLimit limited(kLargestTensorOfALook);
  PACTORY_ASSIGN_OR_RETURN(const std::vector<at::Tensor> inputs, ZeroInputs(graph, shapes));
  PACTORY_ASSIGN_OR_RETURN(const std::unique_ptr<quant::Executor> executor, quant::Executor::Create(graph));
  std::vector<std::string> wanted;
  std::vector<std::pair<LayerSummary*, const Node*>> counted;
  for (LayerSummary& layer : summary.layers) {
    const auto found = std::find_if(graph.nodes.begin(), graph.nodes.end(),
                                    [&](const Node& node) { return node.name == layer.name; });
    if (found == graph.nodes.end()) return absl::InternalError(absl::StrCat("layer has no node: ", layer.name));
    const quant::OpDefinition* op = quant::FindOp(graph, *found);
    const bool weighted = op != nullptr && op->role == quant::QuantizationRole::kWeighted;
    if (!weighted && !IsRecurrent(*found)) continue;
    counted.emplace_back(&layer, &*found);
    wanted.insert(wanted.end(), {found->inputs[0], found->inputs[weighted ? op->weight_input : 1],
                                 weighted ? found->outputs[0] : found->inputs[2]});
  }
  const at::NoGradGuard no_grad;
  PACTORY_ASSIGN_OR_RETURN(const std::vector<at::Tensor> values, executor->RunAndFetch(inputs, wanted));
  int64_t total = 0;
  for (size_t index = 0; index < counted.size(); ++index) {
    const auto& [layer, node] = counted[index];
    const at::Tensor* value = &values[graph.outputs.size() + 3 * index];
    layer->flops = IsRecurrent(*node) ? RecurrentFlops(value[0], value[1], value[2])
                                      : FlopsOf(*node, *quant::FindOp(graph, *node), value[1], value[0], value[2]);
    total += *layer->flops;
  }
  summary.flops = total;
  return absl::OkStatus();
}

// The plan for `graph`; where nothing can be quantized, an empty one that says so.
absl::StatusOr<quant::QuantizationPlan> PlanFor(const Graph& graph, const v1::QuantizationConfig& config) {
  Graph changed = graph;
  absl::StatusOr<quant::QuantizationPlan> plan = quant::InsertQuantizers(changed, config);
  if (!absl::IsFailedPrecondition(plan.status())) return plan;
  quant::QuantizationPlan empty;
  empty.warnings.push_back(std::string(plan.status().message()));
  return empty;
}

void AddLayers(const Graph& graph, const quant::QuantizationPlan& plan, ModelSummary& summary) {
  for (const quant::LayerPlan& layer : plan.layers) {
    LayerSummary row;
    row.name = layer.node;
    row.op = layer.op_type;
    row.float_reason = layer.float_reason;
    for (const std::string* name : {&layer.weight, &layer.bias}) {
      if (const auto tensor = graph.initializers.find(*name); tensor != graph.initializers.end()) {
        row.parameters += tensor->second.numel();
      }
    }
    for (const quant::WeightPlacement& weight : plan.weights) {
      if (weight.id == layer.weight_quantizer) row.weight_bits = weight.bits;
    }
    summary.layers.push_back(std::move(row));
  }
}

std::string WhyFloat(const Node& node) {
  if (!node.Subgraphs().empty()) return "its layers run by a condition or count that is known only at run time";
  return absl::StrCat(node.op_type, " is computed in float");
}

// Nodes that are no layers to quantize and hold matrices all the same: recurrent ops, embeddings, branches.
void AddFloatNodes(const Graph& graph, ModelSummary& summary) {
  std::set<std::string> layers;
  for (const LayerSummary& layer : summary.layers) layers.insert(layer.name);
  for (const Node& node : graph.nodes) {
    if (layers.contains(node.name)) continue;
    LayerSummary row{.name = node.name, .op = node.op_type, .float_reason = WhyFloat(node)};
    bool has_matrix = false;
    for (const std::string& input : node.inputs) {
      const auto tensor = graph.initializers.find(input);
      if (tensor == graph.initializers.end() || !tensor->second.is_floating_point()) continue;
      row.parameters += tensor->second.numel();
      has_matrix |= tensor->second.dim() > 1 && tensor->second.numel() > tensor->second.size(0) &&
                    tensor->second.numel() > tensor->second.size(-1);
    }
    if (has_matrix) summary.layers.push_back(std::move(row));
  }
}

void CountBytes(const Graph& graph, const quant::QuantizationPlan& plan, ModelSummary& summary) {
  for (const auto& [name, tensor] : graph.initializers) {
    const int64_t bytes = tensor.numel() * static_cast<int64_t>(tensor.element_size());
    if (tensor.is_floating_point()) summary.parameters += tensor.numel();
    summary.float_bytes += bytes;
    const auto placed =
        std::find_if(plan.weights.begin(), plan.weights.end(),
                     [&, value = name](const quant::WeightPlacement& weight) { return weight.value == value; });
    if (placed == plan.weights.end()) {
      summary.quantized_bytes += bytes;
      continue;
    }
    // One byte for each weight up to 8 bits, a scale and a zero point for each channel.
    const int64_t scales = placed->channel_axis < 0 ? 1 : tensor.size(placed->channel_axis);
    summary.quantized_bytes += tensor.numel() + 5 * scales;
  }
  summary.quantized_activations = static_cast<int64_t>(plan.activations.size());
}

}  // namespace

absl::StatusOr<ModelSummary> SummarizeModel(quant::Graph graph, const v1::QuantizationConfig& config, const SampleShapes& shapes) {
  ModelSummary summary;
  summary.opset = graph.opset();
  summary.inputs = graph.inputs;
  summary.outputs = graph.outputs;
  summary.file_ops = CountOps(graph);
  // Refuses unsupported ops with the file's own node names, before passes change them.
  PACTORY_RETURN_IF_ERROR(quant::Executor::Create(graph).status());
  PACTORY_RETURN_IF_ERROR(quant::PrepareGraph(graph).status());
  summary.prepared_ops = CountOps(graph);
  PACTORY_ASSIGN_OR_RETURN(const quant::QuantizationPlan plan, PlanFor(graph, config));
  summary.warnings = plan.warnings;
  AddLayers(graph, plan, summary);
  AddFloatNodes(graph, summary);
  CountBytes(graph, plan, summary);
  const absl::Status counted = quant::GuardTorch("shapes", [&] { return CountFlops(graph, shapes, summary); });
  if (!counted.ok()) summary.flops_problem = std::string(counted.message());
  return summary;
}

}  // namespace pactory
