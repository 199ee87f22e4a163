#include "quant/passes/profile_rules.h"

#include "quant/passes/ort_cpu_rules.h"

namespace pactory::quant {
namespace {

std::set<NodeInput> NoInputs(const Graph&, const std::set<std::string>&) { return {}; }

// OpenVINO's and TensorRT's kernels take int8 inputs of every product and give out float or int8 as the reader wants.
std::set<std::string> AllProducts(const Graph& graph, const std::set<std::string>& candidates) {
  static const std::set<std::string> kProducts = {"Conv", "ConvTranspose", "Gemm", "MatMul"};
  std::set<std::string> layers;
  for (const Node& node : graph.nodes) {
    if (candidates.contains(node.name) && node.domain.empty() && kProducts.contains(node.op_type)) layers.insert(node.name);
  }
  return layers;
}

// TensorRT fuses a Conv and the Add behind it to one int8 kernel where the Add's other input, the residual branch, is int8 too.
std::set<NodeInput> ResidualInputs(const Graph& graph, const std::set<std::string>& int8_layers) {
  std::set<NodeInput> inputs;
  for (const Node& node : graph.nodes) {
    if (!node.domain.empty() || node.op_type != "Add" || node.inputs.size() != 2 || node.inputs[0] == node.inputs[1]) continue;
    for (const int fused : {0, 1}) {
      const Node* layer = graph.Producer(node.inputs[fused]);
      const std::string& residual = node.inputs[1 - fused];
      if (layer == nullptr || !int8_layers.contains(layer->name) || graph.Consumers(node.inputs[fused]).size() != 1 ||
          graph.initializers.contains(residual)) {
        continue;
      }
      inputs.insert({node.name, residual});
      break;
    }
  }
  return inputs;
}

}  // namespace

const ProfileRules& RulesOf(v1::ExportConfig::Profile profile) {
  static const ProfileRules kOrtCpu = {.find_int8_layers = FindInt8Layers,
                                       .find_joined_inputs = NoInputs,
                                       .quantizes_outputs = true,
                                       .quantizes_biases = true};
  static const ProfileRules kOpenvino = {
      .find_int8_layers = AllProducts, .find_joined_inputs = NoInputs, .has_full_signed_grid = true};
  static const ProfileRules kTensorrt = {.find_int8_layers = AllProducts,
                                         .find_joined_inputs = ResidualInputs,
                                         .has_unsigned_grid = false,
                                         .has_full_signed_grid = true};
  switch (profile) {
    case v1::ExportConfig::OPENVINO: return kOpenvino;
    case v1::ExportConfig::TENSORRT: return kTensorrt;
    default: return kOrtCpu;
  }
}

bool HasFullSignedGrid(const v1::ExportConfig& config, int bits) {
  return RulesOf(config.profile()).has_full_signed_grid || (config.activation_type() == v1::ExportConfig::INT8 && bits == 8);
}

}  // namespace pactory::quant
