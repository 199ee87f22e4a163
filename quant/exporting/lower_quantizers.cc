#include "quant/exporting/lower_quantizers.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "quant/exporting/quantize_values.h"
#include "quant/passes/ort_cpu_rules.h"

namespace pactory::quant {
namespace {

constexpr int64_t kKernelBits = 8;

class Lowering {
 public:
  Lowering(QuantizedModel& model, const QuantizationPlan& plan, std::vector<std::string>& warnings)
      : model_(model), plan_(plan), warnings_(warnings), graph_(model.graph()) {}

  absl::StatusOr<Graph> Run() {
    for (auto& [name, tensor] : graph_.initializers) {
      const auto trained = model_.parameters().find(name);
      if (trained != model_.parameters().end()) tensor = trained->second.detach().to(at::kCPU).contiguous();
    }
    // Biases first: one that does not fit raises its weight's scales.
    for (const LayerPlan& layer : plan_.layers) LowerBias(layer);
    // New nodes go to the end, so that their names are checked against all others; the sort puts them in place.
    const size_t count = graph_.nodes.size();
    for (size_t i = 0; i < count; ++i) {
      if (graph_.nodes[i].domain != "pactory") continue;
      const Node node = graph_.nodes[i];
      Quantizer* quantizer = model_.Find(node.StringOr("quantizer", ""));
      if (quantizer == nullptr) return absl::InternalError(absl::StrCat("node has no quantizer: ", node.name));
      if (quantizer->spec().target == QuantizerTarget::kWeight) {
        LowerWeight(node, *quantizer);
      } else {
        LowerActivation(node, *quantizer);
      }
    }
    std::erase_if(graph_.nodes, [](const Node& node) { return node.domain == "pactory"; });
    PACTORY_RETURN_IF_ERROR(graph_.Sort());
    graph_.RemoveDeadCode();
    return std::move(graph_);
  }

 private:
  // The name of an initializer with this content; equal content is stored once.
  std::string Constant(const std::string& stem, const at::Tensor& tensor) {
    for (const auto& [name, other] : made_) {
      if (other.scalar_type() == tensor.scalar_type() && other.sizes() == tensor.sizes() && at::equal(other, tensor)) {
        return name;
      }
    }
    const std::string name = graph_.UniqueValueName(stem);
    graph_.initializers[name] = tensor;
    made_.emplace_back(name, tensor);
    return name;
  }

  Node MakeNode(const std::string& op, std::vector<std::string> inputs, const std::string& output) {
    Node node;
    node.op_type = op;
    node.name = graph_.UniqueNodeName(absl::StrCat(output, "/", op));
    node.inputs = std::move(inputs);
    node.outputs = {output};
    return node;
  }

  void LowerBias(const LayerPlan& layer) {
    if (layer.bias.empty() || layer.weight_quantizer.empty() || layer.input_quantizer.empty()) return;
    Quantizer* input = model_.Find(layer.input_quantizer);
    Quantizer* weight = model_.Find(layer.weight_quantizer);
    const auto node = std::find_if(graph_.nodes.begin(), graph_.nodes.end(),
                                   [&](const Node& candidate) { return candidate.name == layer.node; });
    if (input == nullptr || weight == nullptr || node == graph_.nodes.end()) return;
    if (input->spec().bits < kKernelBits) return;
    const at::Tensor bias = graph_.initializers.at(layer.bias);
    const at::Tensor& scales = WeightScales(layer.weight, *weight);
    if (scales.numel() != 1 && scales.numel() != bias.numel()) return;
    const QuantizedBias quantized = QuantizeBias(bias, input->Scales({}).item<float>(), scales);
    if (!quantized.raised_channels.empty()) {
      weight_scales_[layer.weight] = quantized.weight_scales;
      warnings_.push_back(absl::StrCat("the bias of ", quantized.raised_channels.size(), " channel(s) of ", layer.node,
                                       " did not fit 32 bits; the scale of their weights was raised"));
    }
    const std::string values = graph_.UniqueValueName(absl::StrCat(layer.bias, "_int32"));
    graph_.initializers[values] = quantized.values;
    const std::string result = graph_.UniqueValueName(absl::StrCat(layer.bias, "_dq"));
    std::replace(node->inputs.begin(), node->inputs.end(), layer.bias, result);
    Node dequantize = MakeNode("DequantizeLinear", {values, Constant(absl::StrCat(layer.bias, "_scale"), quantized.scales)}, result);
    dequantize.attributes["axis"] = int64_t{0};
    graph_.nodes.push_back(std::move(dequantize));
  }

  const at::Tensor& WeightScales(const std::string& weight, Quantizer& quantizer) {
    const auto found = weight_scales_.find(weight);
    if (found != weight_scales_.end()) return found->second;
    return weight_scales_.emplace(weight, quantizer.Scales(graph_.initializers.at(weight))).first->second;
  }

  void LowerWeight(const Node& node, Quantizer& quantizer) {
    const std::string& weight = node.inputs[0];
    const at::Tensor scales = WeightScales(weight, quantizer);
    const int64_t axis = quantizer.spec().channel_axis;
    const at::Tensor values = QuantizeWeight(graph_.initializers.at(weight), scales, axis, quantizer.grid().qmax);
    const std::string stored = graph_.UniqueValueName(absl::StrCat(weight, "_int8"));
    graph_.initializers[stored] = values;
    const bool per_channel = axis >= 0;
    const at::Tensor scale = per_channel ? scales : scales.reshape({});
    std::vector<std::string> inputs = {stored, Constant(absl::StrCat(weight, "_scale"), scale)};
    const std::vector<const Node*> readers = std::as_const(graph_).Consumers(node.outputs[0]);
    if (std::any_of(readers.begin(), readers.end(), [](const Node* reader) { return NeedsWeightZeroPoint(*reader); })) {
      inputs.push_back(Constant(absl::StrCat(weight, "_zero"), at::zeros(scale.sizes(), at::kChar)));
    }
    Node dequantize = MakeNode("DequantizeLinear", std::move(inputs), node.outputs[0]);
    if (per_channel) dequantize.attributes["axis"] = axis;
    graph_.nodes.push_back(std::move(dequantize));
  }

  void LowerActivation(const Node& node, Quantizer& quantizer) {
    const Grid grid = quantizer.grid();
    const at::Tensor scale = quantizer.Scales({}).reshape({});
    const std::string scale_name = Constant(absl::StrCat(quantizer.spec().id, "_scale"), scale);
    // One type for all tensors, because a Conv fuses only between equal types: a signed grid is the unsigned one moved by 128.
    const int64_t shift = grid.qmin == 0 ? 0 : 128;
    const std::string zero = Constant(absl::StrCat("zero_", shift), at::full({}, shift, at::kByte));
    std::string input = node.inputs[0];
    if (quantizer.spec().bits < kKernelBits) {
      const std::string clipped = graph_.UniqueValueName(absl::StrCat(input, "_clipped"));
      const std::string low = Constant(absl::StrCat(input, "_low"), scale * static_cast<double>(grid.qmin));
      const std::string high = Constant(absl::StrCat(input, "_high"), scale * static_cast<double>(grid.qmax));
      graph_.nodes.push_back(MakeNode("Clip", {input, low, high}, clipped));
      input = clipped;
    }
    const std::string quantized = graph_.UniqueValueName(absl::StrCat(node.inputs[0], "_int8"));
    graph_.nodes.push_back(MakeNode("QuantizeLinear", {input, scale_name, zero}, quantized));
    graph_.nodes.push_back(MakeNode("DequantizeLinear", {quantized, scale_name, zero}, node.outputs[0]));
  }

  QuantizedModel& model_;
  const QuantizationPlan& plan_;
  std::vector<std::string>& warnings_;
  Graph graph_;
  std::map<std::string, at::Tensor> weight_scales_;
  std::vector<std::pair<std::string, at::Tensor>> made_;
};

}  // namespace

absl::StatusOr<Graph> LowerQuantizers(QuantizedModel& model, const QuantizationPlan& plan,
                                      std::vector<std::string>& warnings) {
  return Lowering(model, plan, warnings).Run();
}

}  // namespace pactory::quant
