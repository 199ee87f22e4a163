#include "quant/passes/insert_quantizers.h"

#include <algorithm>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "config/config_rules.h"
#include "quant/ops/registry.h"
#include "quant/ops/value_range.h"
#include "quant/passes/layer_overrides.h"
#include "quant/passes/ort_cpu_rules.h"
#include "quant/passes/profile_rules.h"
#include "quant/passes/replace_stored_pairs.h"

namespace pactory::quant {
namespace {

// Whether a method for weights keeps one range per output channel.
bool IsPerChannel(v1::QuantizerMethod method) {
  return method == v1::CHANNEL_ABS_MAX || method == v1::CHANNEL_LSQ || method == v1::CHANNEL_MSE;
}

class Inserter {
 public:
  Inserter(Graph& graph, const v1::QuantizationConfig& config)
      : graph_(graph), config_(config), rules_(RulesOf(config.export_().profile())), overrides_(config) {}

  absl::StatusOr<QuantizationPlan> Run() {
    PlanLayers();
    PlanJoins();
    if (activations_.empty() && plan_.weights.empty()) {
      return WithReason(
          absl::FailedPreconditionError("model must have a layer to quantize (Conv, Gemm or MatMul with a stored weight "
                                        "that neither weights.method nor an override leaves in float)"),
          "BAD_MODEL");
    }
    for (const WeightPlacement& weight : plan_.weights) InsertWeight(weight);
    for (const auto& [value, bits] : activations_) InsertActivation(value, bits);
    ShareThroughOps();
    InsertBiases();
    PACTORY_RETURN_IF_ERROR(graph_.Sort());
    overrides_.AppendUnused(plan_.warnings);
    return std::move(plan_);
  }

 private:
  // Names of the layers with a stored weight, in order.
  std::vector<const Node*> WeightedNodes() const {
    std::vector<const Node*> nodes;
    for (const Node& node : graph_.nodes) {
      const OpDefinition* op = FindOp(graph_, node);
      if (op != nullptr && op->role == QuantizationRole::kWeighted) nodes.push_back(&node);
    }
    return nodes;
  }

  void PlanLayers() {
    const std::vector<const Node*> nodes = WeightedNodes();
    std::set<std::string> candidates;
    for (size_t i = 0; i < nodes.size(); ++i) {
      plan_.layers.push_back(PlanWeight(*nodes[i], i == 0 || i + 1 == nodes.size()));
      const LayerPlan& layer = plan_.layers.back();
      if (layer.compute == LayerCompute::kWeightOnly && layer.float_reason.empty()) candidates.insert(layer.node);
    }
    if (config_.activations().method() == v1::NONE) return;
    const std::set<std::string> int8 = rules_.find_int8_layers(graph_, candidates);
    for (size_t i = 0; i < nodes.size(); ++i) {
      LayerPlan& layer = plan_.layers[i];
      if (!candidates.contains(layer.node)) continue;
      const bool is_edge = i == 0 || i + 1 == nodes.size();
      if (FewBits()) {
        PlanInput(*nodes[i], layer, is_edge);
        layer.float_reason = "below 8 bits there is no integer kernel: it computes on values of the grids, in float";
      } else if (int8.contains(layer.node)) {
        PlanInput(*nodes[i], layer, is_edge);
        PlanOutput(*nodes[i], layer);
        layer.compute = LayerCompute::kInt8;
        layer.float_reason.clear();
      } else {
        layer.float_reason = "the runtime is faster in float here";
      }
    }
    if (FewBits()) return;
    for (const NodeInput& input : rules_.find_joined_inputs(graph_, int8)) {
      WantActivation(input.second, kKernelBits);
      joined_inputs_.insert(input);
    }
  }

  // Whether the activations have fewer bits than kernels take. Then every layer's input is quantized, and nothing else.
  bool FewBits() const { return config_.activations().bits() < kKernelBits; }

  // The first and the last layer keep more bits (PACT, appendix A.3: at 8 bits they cost next to nothing).
  int64_t LeastBits(bool is_edge) const { return is_edge ? config_.first_last_bits() : 2; }

  LayerPlan PlanWeight(const Node& node, bool is_edge) {
    const OpDefinition& op = *FindOp(graph_, node);
    LayerPlan layer;
    layer.node = node.name;
    layer.op_type = node.op_type;
    layer.output = node.outputs[0];
    const LayerRule rule = overrides_.RuleOf(node);
    const std::string& weight = node.inputs[op.weight_input];
    const auto stored = graph_.initializers.find(weight);
    if (stored == graph_.initializers.end()) {
      layer.float_reason = "its weight is computed, not stored";
      return layer;
    }
    layer.weight = weight;
    if (node.inputs.size() > 2 && graph_.initializers.contains(node.inputs[2])) layer.bias = node.inputs[2];
    if (!stored->second.is_floating_point() || stored->second.dim() < 2) {
      layer.float_reason = "its weight is not a float matrix or kernel";
    } else if (rule.skip) {
      layer.float_reason = rule.reason;
    } else if (rule.weight_method == v1::QUANTIZER_METHOD_UNSPECIFIED && config_.weights().method() == v1::NONE) {
      layer.float_reason = "weights.method is NONE";
    } else {
      const int64_t bits = rule.weight_bits.value_or(std::max<int64_t>(LeastBits(is_edge), config_.weights().bits()));
      layer.weight_quantizer = PlaceWeight(node, op, stored->second, bits, rule);
      layer.compute = LayerCompute::kWeightOnly;
      if (rule.activation_bits == kFloatBits) {
        layer.float_reason = rule.reason;
      } else if (config_.activations().method() == v1::NONE) {
        layer.float_reason = "activations.method is NONE";
      }
    }
    return layer;
  }

  std::string PlaceWeight(const Node& node, const OpDefinition& op, const at::Tensor& weight, int64_t bits,
                          const LayerRule& rule) {
    const std::string& value = node.inputs[op.weight_input];
    const auto placed = std::find_if(plan_.weights.begin(), plan_.weights.end(),
                                     [&](const WeightPlacement& other) { return other.value == value; });
    if (placed != plan_.weights.end()) return placed->id;
    const bool overridden = rule.weight_method != v1::QUANTIZER_METHOD_UNSPECIFIED;
    int64_t axis = -1;
    if (IsPerChannel(overridden ? rule.weight_method : config_.weights().method())) axis = op.channel_axis(node, weight);
    plan_.weights.push_back({.id = value,
                             .value = value,
                             .node = node.name,
                             .bits = bits,
                             .channel_axis = axis,
                             .override_range = rule.weight_range,
                             .override_method = rule.weight_method});
    return value;
  }

  void WantActivation(const std::string& value, int64_t bits) {
    int64_t& wanted = activations_[value];
    wanted = std::max(wanted, bits);
  }

  void PlanInput(const Node& node, LayerPlan& layer, bool is_edge) {
    const LayerRule rule = overrides_.RuleOf(node);
    WantActivation(node.inputs[0],
                   rule.activation_bits.value_or(std::max<int64_t>(LeastBits(is_edge), config_.activations().bits())));
    if (rule.activation_method != v1::QUANTIZER_METHOD_UNSPECIFIED) override_methods_[node.inputs[0]] = rule.activation_method;
    layer.input_quantizer = node.inputs[0];
  }

  // A layer is fused to an integer kernel only with a Q behind it.
  void PlanOutput(const Node& node, LayerPlan& layer) {
    if (!rules_.quantizes_outputs) return;
    std::string value = node.outputs[0];
    const std::vector<const Node*> readers = std::as_const(graph_).Consumers(value);
    if (readers.size() == 1 && !graph_.IsOutput(value) && IsAbsorbedByQuantizer(graph_, *readers[0])) {
      value = readers[0]->outputs[0];
    }
    written_in_int8_.insert(value);
    if (MayGiveFloat(node) || graph_.IsOutput(value)) return;
    WantActivation(value, kKernelBits);
    layer.output_quantizer = value;
  }

  // Ops that join values which are quantized anyway give theirs back quantized.
  void PlanJoins() {
    if (FewBits() || !rules_.quantizes_outputs) return;
    for (const Node& node : graph_.nodes) {
      if (!JoinsQuantizedValues(node) || graph_.IsOutput(node.outputs[0])) continue;
      const bool joins = std::all_of(node.inputs.begin(), node.inputs.end(),
                                     [&](const std::string& input) { return activations_.contains(input); });
      if (!joins) continue;
      joins_.insert(node.name);
      written_in_int8_.insert(node.outputs[0]);
      WantActivation(node.outputs[0], kKernelBits);
    }
  }

  std::string AddQuantizer(const std::string& value, const std::string& id) {
    Node node;
    node.domain = "pactory";
    node.op_type = "FakeQuantize";
    node.name = graph_.UniqueNodeName(absl::StrCat(value, "_quantizer"));
    node.inputs = {value};
    node.outputs = {graph_.UniqueValueName(absl::StrCat(value, "_q"))};
    node.attributes["quantizer"] = id;
    graph_.nodes.push_back(node);
    return node.outputs[0];
  }

  void Redirect(Node& reader, const std::string& from, const std::string& to) {
    std::replace(reader.inputs.begin(), reader.inputs.end(), from, to);
  }

  void InsertWeight(const WeightPlacement& weight) {
    std::vector<std::string> readers;
    for (const LayerPlan& layer : plan_.layers) {
      if (layer.weight_quantizer == weight.id) readers.push_back(layer.node);
    }
    const std::string quantized = AddQuantizer(weight.value, weight.id);
    for (Node& node : graph_.nodes) {
      if (std::find(readers.begin(), readers.end(), node.name) != readers.end()) Redirect(node, weight.value, quantized);
    }
  }

  void InsertActivation(const std::string& value, int64_t bits) {
    const Node* producer = graph_.Producer(value);
    plan_.activations.push_back({.id = value,
                                 .value = value,
                                 .node = producer == nullptr ? "" : producer->name,
                                 .bits = bits,
                                 .sign = rules_.has_unsigned_grid && IsNonNegative(graph_, value) ? Sign::kNonNegative : Sign::kAny,
                                 .override_method = override_methods_[value]});
    // A value that an int8 layer writes has the Q as its only reader, which fusion asks for; of other values the layers that
    // compute in float read the finer original.
    std::set<std::string> readers = joins_;
    for (const LayerPlan& layer : plan_.layers) {
      if (layer.input_quantizer == value) readers.insert(layer.node);
    }
    for (const auto& [node, input] : joined_inputs_) {
      if (input == value) readers.insert(node);
    }
    const std::string quantized = AddQuantizer(value, value);
    for (Node& node : graph_.nodes) {
      if (node.outputs[0] == quantized) continue;
      if (written_in_int8_.contains(value) || readers.contains(node.name)) Redirect(node, value, quantized);
    }
  }

  // Ops that only move values run in int8 when the same scale stands on both sides.
  void ShareThroughOps() {
    std::map<std::string, std::string> id_of;
    for (const Node& node : graph_.nodes) {
      if (node.domain == "pactory") id_of[node.outputs[0]] = node.StringOr("quantizer", "");
    }
    std::vector<std::pair<std::string, std::string>> shared;
    for (const Node& node : graph_.nodes) {
      const OpDefinition* op = FindOp(graph_, node);
      if (op == nullptr || op->role != QuantizationRole::kPassThrough || node.inputs.empty()) continue;
      const auto input = id_of.find(node.inputs[0]);
      const std::string& output = node.outputs[0];
      if (input == id_of.end() || graph_.IsOutput(output)) continue;
      // The output's own quantizer, where it has one, takes the input's id; else it gets one.
      bool has_own = false;
      for (Node& reader : graph_.nodes) {
        if (reader.domain != "pactory" || reader.inputs[0] != output) continue;
        RenameQuantizer(reader.StringOr("quantizer", ""), input->second);
        id_of[reader.outputs[0]] = input->second;
        has_own = true;
      }
      if (!has_own && rules_.quantizes_outputs) shared.emplace_back(output, input->second);
    }
    for (const auto& [value, id] : shared) {
      const std::string quantized = AddQuantizer(value, id);
      for (Node& node : graph_.nodes) {
        if (node.outputs[0] != quantized) Redirect(node, value, quantized);
      }
    }
  }

  // A layer that is computed in float keeps its bias as it is.
  void InsertBiases() {
    if (!rules_.quantizes_biases) return;
    for (const LayerPlan& layer : plan_.layers) {
      if (layer.bias.empty() || layer.compute != LayerCompute::kInt8) continue;
      Node node;
      node.domain = "pactory";
      node.op_type = "FakeQuantizeBias";
      node.name = graph_.UniqueNodeName(absl::StrCat(layer.bias, "_quantizer"));
      node.inputs = {layer.bias, layer.weight};
      node.outputs = {graph_.UniqueValueName(absl::StrCat(layer.bias, "_q"))};
      node.attributes["input_quantizer"] = layer.input_quantizer;
      node.attributes["weight_quantizer"] = layer.weight_quantizer;
      for (Node& reader : graph_.nodes) {
        if (reader.name == layer.node) Redirect(reader, layer.bias, node.outputs[0]);
      }
      graph_.nodes.push_back(std::move(node));
    }
  }

  void RenameQuantizer(const std::string& from, const std::string& to) {
    for (Node& node : graph_.nodes) {
      if (node.domain == "pactory" && node.StringOr("quantizer", "") == from) node.attributes["quantizer"] = to;
    }
    for (LayerPlan& layer : plan_.layers) {
      if (layer.input_quantizer == from) layer.input_quantizer = to;
      if (layer.output_quantizer == from) layer.output_quantizer = to;
    }
    // What an override asks for goes along.
    const auto gone = std::find_if(plan_.activations.begin(), plan_.activations.end(),
                                   [&](const ActivationPlacement& placement) { return placement.id == from; });
    if (gone == plan_.activations.end()) return;
    for (ActivationPlacement& placement : plan_.activations) {
      if (placement.id == to && gone->override_method != v1::QUANTIZER_METHOD_UNSPECIFIED) placement.override_method = gone->override_method;
    }
    plan_.activations.erase(gone);
  }

  Graph& graph_;
  const v1::QuantizationConfig& config_;
  const ProfileRules& rules_;
  LayerOverrides overrides_;
  QuantizationPlan plan_;
  // Bits of each value that is to be quantized.
  std::map<std::string, int64_t> activations_;
  // Methods that overrides ask for, by value.
  std::map<std::string, v1::QuantizerMethod> override_methods_;
  // Values that an integer kernel writes.
  std::set<std::string> written_in_int8_;
  // Nodes without weights that run between quantized values.
  std::set<std::string> joins_;
  // Inputs of nodes without weights that the profile wants quantized.
  std::set<NodeInput> joined_inputs_;
};

}  // namespace

absl::StatusOr<QuantizationPlan> InsertQuantizers(Graph& graph, const v1::QuantizationConfig& config) {
  ReplaceStoredPairs(graph);
  return Inserter(graph, config).Run();
}

}  // namespace pactory::quant
