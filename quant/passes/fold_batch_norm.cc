#include "quant/passes/fold_batch_norm.h"

#include <ATen/ATen.h>

#include <optional>
#include <string>
#include <vector>

#include "quant/passes/pattern.h"

namespace pactory::quant {
namespace {

// y = x * scale + shift, one value for each channel, in double.
struct Affine {
  at::Tensor scale;
  at::Tensor shift;
};

// A weighted node that can take an affine map in.
struct Target {
  at::Tensor weight;
  // Undefined where the node has none.
  at::Tensor bias;
  int64_t channels = 0;
  // Rank of the node's output.
  int64_t rank = 0;
};

std::optional<Target> ReadTarget(const Graph& graph, const Node& node) {
  const bool gemm = Is(node, "Gemm");
  const bool transposed = Is(node, "ConvTranspose");
  if ((!gemm && !transposed && !Is(node, "Conv")) || node.inputs.size() < 2) return std::nullopt;
  if (gemm && (node.FloatOr("alpha", 1) != 1 || node.FloatOr("beta", 1) != 1)) return std::nullopt;
  const at::Tensor* weight = ConstantOf(graph, node.inputs[1]);
  if (weight == nullptr || !weight->is_floating_point() || weight->dim() < 2) return std::nullopt;
  Target target;
  target.weight = *weight;
  target.rank = weight->dim();
  if (gemm) target.channels = weight->size(node.IntOr("transB", 0) != 0 ? 0 : 1);
  else if (transposed) target.channels = weight->size(1) * node.IntOr("group", 1);
  else target.channels = weight->size(0);
  if (node.inputs.size() > 2 && !node.inputs[2].empty()) {
    const at::Tensor* bias = ConstantOf(graph, node.inputs[2]);
    if (bias == nullptr) return std::nullopt;
    // Gemm's C may also be a full matrix, or a column.
    const bool by_channel =
        bias->numel() == 1 || (bias->numel() == target.channels && bias->size(-1) == target.channels);
    if (!by_channel) return std::nullopt;
    target.bias = bias->reshape({-1}).expand({target.channels});
  }
  return target;
}

// A constant that broadcasts along the channels (axis 1) of an output of `rank` only, as one value for each.
at::Tensor ByChannel(const at::Tensor& constant, int64_t channels, int64_t rank) {
  if (!constant.is_floating_point()) return {};
  if (constant.numel() == 1 && constant.dim() <= rank) {
    return constant.to(at::kDouble).reshape({1}).expand({channels});
  }
  const int64_t channel_axis = constant.dim() - (rank - 1);
  if (constant.numel() != channels || channel_axis < 0 || constant.dim() > rank) return {};
  if (constant.size(channel_axis) != channels) return {};
  return constant.to(at::kDouble).reshape({channels});
}

std::optional<Affine> ReadBatchNorm(const Graph& graph, const Node& node, const Target& target) {
  if (node.inputs.size() != 5 || node.IntOr("training_mode", 0) != 0) return std::nullopt;
  for (size_t index = 1; index < node.outputs.size(); ++index) {
    if (!node.outputs[index].empty()) return std::nullopt;
  }
  std::vector<at::Tensor> statistics;
  for (size_t index = 1; index < 5; ++index) {
    const at::Tensor* constant = ConstantOf(graph, node.inputs[index]);
    if (constant == nullptr || constant->numel() != target.channels) return std::nullopt;
    statistics.push_back(constant->to(at::kDouble).reshape({-1}));
  }
  const at::Tensor scale =
      statistics[0] / at::sqrt(statistics[3] + static_cast<double>(node.FloatOr("epsilon", 1e-5f)));
  return Affine{scale, statistics[1] - statistics[2] * scale};
}

std::optional<Affine> ReadArithmetic(const Graph& graph, const Node& node, const std::string& input,
                                     const Target& target) {
  const bool commutes = Is(node, "Mul") || Is(node, "Add");
  if ((!commutes && !Is(node, "Div") && !Is(node, "Sub")) || node.inputs.size() != 2) return std::nullopt;
  const bool left = node.inputs[0] == input;
  if (!left && !commutes) return std::nullopt;
  const at::Tensor* constant = ConstantOf(graph, node.inputs[left ? 1 : 0]);
  if (constant == nullptr) return std::nullopt;
  const at::Tensor values = ByChannel(*constant, target.channels, target.rank);
  if (!values.defined()) return std::nullopt;
  const at::Tensor ones = at::ones_like(values);
  const at::Tensor zeros = at::zeros_like(values);
  if (Is(node, "Mul")) return Affine{values, zeros};
  if (Is(node, "Div")) return Affine{1 / values, zeros};
  if (Is(node, "Add")) return Affine{ones, values};
  return Affine{ones, -values};
}

void Fold(Graph& graph, Node& node, const Target& target, const Affine& affine) {
  const at::ScalarType type = target.weight.scalar_type();
  const at::Tensor weight = ScaleOutputChannels(node, target.weight.to(at::kDouble), affine.scale).to(type).contiguous();
  at::Tensor bias = affine.shift;
  if (target.bias.defined()) bias = bias + target.bias.to(at::kDouble) * affine.scale;
  // The old tensors may have other readers.
  node.inputs[1] = AddConstant(graph, node.inputs[1], weight);
  const std::string stem = target.bias.defined() ? node.inputs[2] : node.name + "_bias";
  node.inputs.resize(3);
  node.inputs[2] = AddConstant(graph, stem, bias.to(type).contiguous());
}

// The present BatchNormalization, or what comes behind one that was folded before.
void Record(Graph& graph, const Node& node, const Node& next, const Target& target, const Affine& affine) {
  if (const auto found = graph.folded_batch_norms.find(node.name); found != graph.folded_batch_norms.end()) {
    found->second.gamma = found->second.gamma * affine.scale;
    found->second.beta = found->second.beta * affine.scale + affine.shift;
    return;
  }
  if (!Is(next, "BatchNormalization")) return;
  const auto statistic = [&](size_t input) { return ConstantOf(graph, next.inputs[input])->to(at::kDouble).reshape({-1}); };
  const at::Tensor mean = target.bias.defined() ? statistic(3) - target.bias.to(at::kDouble) : statistic(3);
  graph.folded_batch_norms[node.name] = {.gamma = statistic(1), .beta = statistic(2), .mean = mean, .variance = statistic(4),
                                         .epsilon = next.FloatOr("epsilon", 1e-5f), .weight = {}};
}

}  // namespace

at::Tensor ScaleOutputChannels(const Node& node, const at::Tensor& weight, const at::Tensor& scale) {
  if (Is(node, "Gemm")) {
    return node.IntOr("transB", 0) != 0 ? weight * scale.unsqueeze(1) : weight * scale.unsqueeze(0);
  }
  std::vector<int64_t> shape(weight.dim(), 1);
  if (Is(node, "Conv")) {
    shape[0] = -1;
    return weight * scale.reshape(shape);
  }
  // ConvTranspose's weight is (in, out / group, ...): each group's inputs see that group's output channels.
  const int64_t group = node.IntOr("group", 1);
  std::vector<int64_t> split = weight.sizes().vec();
  split[0] /= group;
  split.insert(split.begin(), group);
  shape.insert(shape.begin(), group);
  shape[2] = weight.size(1);
  return (weight.reshape(split) * scale.reshape(shape)).reshape(weight.sizes());
}

absl::Status FoldBatchNorm(Graph& graph) {
  for (Node& node : graph.nodes) {
    // Again after each fold, for chains like BatchNormalization, Mul, Add.
    while (const std::optional<Target> target = ReadTarget(graph, node)) {
      const std::string output = node.outputs[0];
      Node* next = OnlyReader(graph, output);
      if (next == nullptr) break;
      const std::optional<Affine> affine = Is(*next, "BatchNormalization") && next->inputs[0] == output
                                               ? ReadBatchNorm(graph, *next, *target)
                                               : ReadArithmetic(graph, *next, output, *target);
      if (!affine || !at::isfinite(affine->scale).all().item<bool>() ||
          !at::isfinite(affine->shift).all().item<bool>()) {
        break;
      }
      Record(graph, node, *next, *target, *affine);
      Fold(graph, node, *target, *affine);
      if (const auto record = graph.folded_batch_norms.find(node.name); record != graph.folded_batch_norms.end()) {
        record->second.weight = graph.initializers.at(node.inputs[1]);
      }
      // The folded node's output now comes from here; the folded node itself is left without a reader.
      const std::string unread = graph.UniqueValueName(output);
      node.outputs[0] = next->outputs[0];
      next->outputs[0] = unread;
      next->inputs.clear();
    }
  }
  return absl::OkStatus();
}

}  // namespace pactory::quant
