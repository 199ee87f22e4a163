#include "quant/exporting/layer_storage.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <set>
#include <vector>

#include "quant/onnx/tensor.h"

namespace pactory::quant {
namespace {

// The chain from a stored weight to its layer: Cast, Mul or DequantizeLinear, perhaps a Transpose.
constexpr int kLongestChain = 4;

// Whether a value hangs on initializers alone; their names go to `constants`.
bool FindConstants(const Graph& graph, const std::string& value, int depth, std::vector<std::string>& constants) {
  if (value.empty()) return true;
  if (graph.initializers.contains(value)) {
    constants.push_back(value);
    return true;
  }
  const Node* node = graph.Producer(value);
  if (node == nullptr || depth == kLongestChain) return false;
  return std::all_of(node->inputs.begin(), node->inputs.end(),
                     [&](const std::string& input) { return FindConstants(graph, input, depth + 1, constants); });
}

int64_t StoredBytes(const at::Tensor& tensor) { return (tensor.numel() * BitsOf(tensor.scalar_type()) + 7) / 8; }

int64_t CountDeadChannels(const at::Tensor& weight, int64_t axis) {
  const at::Tensor rows = weight.to(at::kFloat).movedim(axis, 0).reshape({weight.size(axis), -1});
  return rows.eq(0).all(1).sum().item<int64_t>();
}

}  // namespace

std::map<std::string, LayerStorage> MeasureLayerStorage(const Graph& lowered, const QuantizationPlan& plan) {
  std::map<std::string, int64_t> axes;
  for (const LayerPlan& layer : plan.layers) {
    for (const WeightPlacement& weight : plan.weights) {
      if (weight.id == layer.weight_quantizer) axes[layer.node] = weight.channel_axis;
    }
  }
  std::map<std::string, LayerStorage> layers;
  for (const LayerPlan& layer : plan.layers) layers[layer.node];
  std::set<std::string> counted;
  for (const Node& node : lowered.nodes) {
    const auto layer = layers.find(node.name);
    if (layer == layers.end()) continue;
    for (const std::string& input : node.inputs) {
      std::vector<std::string> constants;
      if (!FindConstants(lowered, input, 0, constants)) continue;
      for (const std::string& name : constants) {
        const at::Tensor& tensor = lowered.initializers.at(name);
        if (counted.insert(name).second) layer->second.bytes += StoredBytes(tensor);
        const auto axis = axes.find(node.name);
        const bool is_weight = tensor.dim() >= 2 && !tensor.is_floating_point();
        if (is_weight && axis != axes.end() && axis->second >= 0) {
          layer->second.dead_channels = CountDeadChannels(BytesOf(tensor), axis->second);
        }
      }
    }
  }
  return layers;
}

}  // namespace pactory::quant
