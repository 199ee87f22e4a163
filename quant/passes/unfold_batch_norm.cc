#include "quant/passes/unfold_batch_norm.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "quant/passes/fold_batch_norm.h"
#include "quant/passes/pattern.h"

namespace pactory::quant {
namespace {

// The initializer behind a value, through the quantizers that read it.
std::string StoredBehind(const Graph& graph, std::string value) {
  const Node* producer = graph.Producer(value);
  while (producer != nullptr && producer->domain == "pactory") {
    value = producer->inputs[0];
    producer = graph.Producer(value);
  }
  return graph.initializers.contains(value) ? value : "";
}

// Layers that read an initializer, through quantizers; a bias's quantizer also reads the weight, which makes it no layer.
int64_t LayersThatRead(const Graph& graph, const std::string& value) {
  int64_t count = 0;
  for (const Node* reader : graph.Consumers(value)) {
    if (reader->domain != "pactory") ++count;
    else if (reader->inputs[0] == value) count += LayersThatRead(graph, reader->outputs[0]);
  }
  return count;
}

Node PactoryNode(const Graph& graph, const char* op, const std::string& layer, std::vector<std::string> inputs,
                 std::vector<std::string> outputs) {
  Node node;
  node.domain = "pactory";
  node.op_type = op;
  node.name = graph.UniqueNodeName(absl::StrCat(layer, "_", op));
  node.inputs = std::move(inputs);
  node.outputs = std::move(outputs);
  node.attributes["layer"] = layer;
  return node;
}

}  // namespace

absl::StatusOr<std::vector<UnfoldedLayer>> UnfoldBatchNorms(Graph& graph) {
  std::vector<UnfoldedLayer> layers;
  const std::map<std::string, FoldedBatchNorm> records = graph.folded_batch_norms;
  for (const auto& [name, record] : records) {
    const auto layer = std::find_if(graph.nodes.begin(), graph.nodes.end(), [&](const Node& node) { return node.name == name; });
    if (layer == graph.nodes.end()) continue;
    UnfoldedLayer unfolded{.layer = *layer, .epsilon = record.epsilon};
    unfolded.weight = StoredBehind(graph, layer->inputs[1]);
    unfolded.bias = StoredBehind(graph, layer->inputs[2]);
    if (unfolded.weight.empty() || unfolded.bias.empty() || !graph.initializers.at(unfolded.weight).is_same(record.weight)) continue;
    if (LayersThatRead(graph, unfolded.weight) != 1 || LayersThatRead(graph, unfolded.bias) != 1) continue;

    const at::Tensor factor = record.gamma / at::sqrt(record.variance + record.epsilon);
    // A channel whose gamma is 0 has lost its weight; it stays 0.
    const at::Tensor divisor = at::where(factor.eq(0), at::ones_like(factor), factor);
    const at::Tensor raw = ScaleOutputChannels(unfolded.layer, record.weight.to(at::kDouble), 1 / divisor);
    const auto add = [&](const char* part, const at::Tensor& values) {
      return AddConstant(graph, absl::StrCat(name, "_", part), values.to(record.weight.scalar_type()).contiguous());
    };
    unfolded.raw_weight = add("raw_weight", raw);
    unfolded.gamma = add("gamma", record.gamma);
    unfolded.beta = add("beta", record.beta);
    unfolded.mean = add("mean", record.mean);
    unfolded.variance = add("variance", record.variance);
    graph.initializers.erase(unfolded.weight);
    graph.initializers.erase(unfolded.bias);

    const std::string output = layer->outputs[0];
    layer->outputs[0] = graph.UniqueValueName(absl::StrCat(output, "_folded"));
    const std::string folded_output = layer->outputs[0];
    graph.nodes.push_back(PactoryNode(graph, "FoldBatchNorm", name,
                                      {unfolded.raw_weight, unfolded.gamma, unfolded.beta, unfolded.mean, unfolded.variance},
                                      {unfolded.weight, unfolded.bias}));
    graph.nodes.push_back(PactoryNode(graph, "NormalizeBatch", name,
                                      {folded_output, unfolded.gamma, unfolded.beta, unfolded.mean, unfolded.variance}, {output}));
    layers.push_back(std::move(unfolded));
  }
  PACTORY_RETURN_IF_ERROR(graph.Sort());
  PACTORY_RETURN_IF_ERROR(graph.Verify());
  return layers;
}

}  // namespace pactory::quant
