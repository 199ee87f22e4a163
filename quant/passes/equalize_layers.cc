#include "quant/passes/equalize_layers.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "quant/passes/pattern.h"

namespace pactory::quant {
namespace {

// Chains of depthwise layers even out over several rounds, each of which leaves about a quarter of the difference.
constexpr int kRounds = 20;
// Weights below this share of their channel's bias make it a constant: its range says nothing.
constexpr double kLeastShareOfBias = 1e-4;

// A layer whose channels can be scaled, in double.
struct Layer {
  Node* node = nullptr;
  // Groups x output channels of a group x input channels of a group x kernel.
  at::Tensor weight;
  // By output channel; undefined where there is none.
  at::Tensor bias;
  bool changed = false;

  // max|w| by output or by input channel.
  at::Tensor OutputRanges() const { return weight.abs().amax({2, 3}).reshape({-1}); }
  at::Tensor InputRanges() const { return weight.abs().amax({1, 3}).reshape({-1}); }

  void DivideOutputs(const at::Tensor& scales) {
    weight = weight / scales.reshape({weight.size(0), weight.size(1), 1, 1});
    if (bias.defined()) bias = bias / scales;
    changed = true;
  }

  void MultiplyInputs(const at::Tensor& scales) {
    weight = weight * scales.reshape({weight.size(0), 1, weight.size(2), 1});
    changed = true;
  }
};

// Which axes of a layer's stored weight are what.
enum class WeightLayout { kOutputFirst, kInputFirst, kGroupedInputFirst };

std::optional<WeightLayout> WeightLayoutOf(const Node& node) {
  if (Is(node, "Conv")) return WeightLayout::kOutputFirst;
  if (Is(node, "ConvTranspose")) return WeightLayout::kGroupedInputFirst;
  if (Is(node, "MatMul")) return WeightLayout::kInputFirst;
  const bool plain = Is(node, "Gemm") && node.FloatOr("alpha", 1) == 1 && node.FloatOr("beta", 1) == 1 &&
                     node.IntOr("transA", 0) == 0;
  if (!plain) return std::nullopt;
  return node.IntOr("transB", 0) != 0 ? WeightLayout::kOutputFirst : WeightLayout::kInputFirst;
}

at::Tensor Grouped(const at::Tensor& weight, WeightLayout layout, int64_t groups) {
  const at::Tensor w = weight.to(at::kDouble);
  const int64_t kernel = w.numel() / (w.size(0) * w.size(1));
  switch (layout) {
    case WeightLayout::kOutputFirst: return w.reshape({groups, w.size(0) / groups, w.size(1), kernel});
    case WeightLayout::kInputFirst: return w.t().reshape({1, w.size(1), w.size(0), 1});
    case WeightLayout::kGroupedInputFirst:
      return w.reshape({groups, w.size(0) / groups, w.size(1), kernel}).transpose(1, 2);
  }
  return {};
}

at::Tensor Stored(const at::Tensor& grouped, WeightLayout layout, const at::Tensor& like) {
  at::Tensor weight = grouped;
  if (layout == WeightLayout::kInputFirst) weight = grouped.reshape({like.size(1), like.size(0)}).t();
  if (layout == WeightLayout::kGroupedInputFirst) weight = grouped.transpose(1, 2);
  return weight.reshape(like.sizes()).to(like.scalar_type()).contiguous();
}

std::optional<Layer> ReadLayer(const Graph& graph, Node& node) {
  const std::optional<WeightLayout> layout = WeightLayoutOf(node);
  if (!layout || node.inputs.size() < 2) return std::nullopt;
  const at::Tensor* weight = ConstantOf(graph, node.inputs[1]);
  const int64_t groups = node.IntOr("group", 1);
  if (weight == nullptr || !weight->is_floating_point() || weight->dim() < 2 || weight->numel() == 0) return std::nullopt;
  if (layout == WeightLayout::kInputFirst && weight->dim() != 2) return std::nullopt;
  if (groups < 1 || weight->size(0) % groups != 0) return std::nullopt;
  Layer layer{.node = &node, .weight = Grouped(*weight, *layout, groups)};
  if (node.inputs.size() > 2 && !node.inputs[2].empty()) {
    const at::Tensor* bias = ConstantOf(graph, node.inputs[2]);
    const int64_t channels = layer.weight.size(0) * layer.weight.size(1);
    if (bias == nullptr || bias->dim() == 0 || bias->numel() != channels || bias->size(-1) != channels) return std::nullopt;
    layer.bias = bias->to(at::kDouble).reshape({-1});
  }
  return layer;
}

bool MatchesAny(const Node& node, std::initializer_list<const char*> ops) {
  return std::any_of(ops.begin(), ops.end(), [&](const char* op) { return Is(node, op); });
}

// Whether a layer's channels are axis 1 of images; else they are the last axis.
bool OnImages(const Node& node) { return MatchesAny(node, {"Conv", "ConvTranspose"}); }

// Whether f(s * x) = s * f(x) for a positive s of each channel.
bool KeepsScales(const Node& node, bool images) {
  if (MatchesAny(node, {"Relu", "LeakyRelu", "PRelu"})) return true;
  return images && MatchesAny(node, {"MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"});
}

// The layer that alone reads a layer's output, looked at through what keeps scales; null where there is none.
Node* NextLayer(Graph& graph, const Node& node) {
  const Node* at = &node;
  for (;;) {
    const std::string& value = at->outputs[0];
    Node* reader = OnlyReader(graph, value);
    if (reader == nullptr || reader->inputs.empty() || reader->inputs[0] != value) return nullptr;
    // As a weight or bias too: then it is no chain.
    if (std::count(reader->inputs.begin(), reader->inputs.end(), value) > 1) return nullptr;
    if (!KeepsScales(*reader, OnImages(node))) return OnImages(*reader) == OnImages(node) ? reader : nullptr;
    if (reader->outputs.size() > 1) return nullptr;
    at = reader;
  }
}

// Scales one pair; returns the largest |log s|.
double Equalize(Layer& first, Layer& second) {
  const at::Tensor written = first.OutputRanges();
  const at::Tensor read = second.InputRanges();
  const at::Tensor ratios = written / read;
  at::Tensor scalable = ratios.isfinite().logical_and(ratios.gt(0));
  if (first.bias.defined()) scalable = scalable.logical_and(written.ge(first.bias.abs() * kLeastShareOfBias));
  const at::Tensor scales = at::where(scalable, ratios.sqrt(), at::ones_like(ratios));
  first.DivideOutputs(scales);
  second.MultiplyInputs(scales);
  return scales.log().abs().max().item<double>();
}

void WriteBack(Graph& graph, const Layer& layer) {
  Node& node = *layer.node;
  const at::Tensor stored = graph.initializers.at(node.inputs[1]);
  // The old tensors may have other readers.
  node.inputs[1] = AddConstant(graph, node.inputs[1], Stored(layer.weight, *WeightLayoutOf(node), stored));
  if (!layer.bias.defined()) return;
  const at::Tensor bias = graph.initializers.at(node.inputs[2]);
  node.inputs[2] = AddConstant(graph, node.inputs[2], layer.bias.reshape(bias.sizes()).to(bias.scalar_type()).contiguous());
}

}  // namespace

absl::Status EqualizeLayers(Graph& graph) {
  std::map<const Node*, Layer> layers;
  for (Node& node : graph.nodes) {
    if (auto layer = ReadLayer(graph, node)) layers.emplace(&node, *std::move(layer));
  }
  std::vector<std::pair<Layer*, Layer*>> pairs;
  for (Node& node : graph.nodes) {
    const auto first = layers.find(&node);
    if (first == layers.end()) continue;
    const auto second = layers.find(NextLayer(graph, node));
    if (second == layers.end()) continue;
    // A graph that is wrong must not be scaled; running it will say so.
    if (first->second.OutputRanges().numel() != second->second.InputRanges().numel()) continue;
    pairs.emplace_back(&first->second, &second->second);
  }
  double largest = 1;
  for (int round = 0; round < kRounds && largest > 1e-6; ++round) {
    largest = 0;
    for (const auto& [first, second] : pairs) largest = std::max(largest, Equalize(*first, *second));
  }
  for (const auto& [node, layer] : layers) {
    if (layer.changed) WriteBack(graph, layer);
  }
  return absl::OkStatus();
}

}  // namespace pactory::quant
