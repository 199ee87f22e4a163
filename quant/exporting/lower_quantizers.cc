#include "quant/exporting/lower_quantizers.h"

#include <ATen/ATen.h>
#include <onnx/onnx_pb.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "quant/exporting/quantize_values.h"
#include "quant/exporting/stored_grid.h"
#include "quant/passes/ort_cpu_rules.h"
#include "quant/passes/pattern.h"
#include "quant/passes/profile_rules.h"

namespace pactory::quant {
namespace {

constexpr int64_t kLargestInt4 = 7;

class Lowering {
 public:
  Lowering(QuantizedModel& model, const QuantizationPlan& plan, const v1::ExportConfig& config,
           std::map<std::string, int64_t>& raised_channels)
      : model_(model), config_(config), raised_channels_(raised_channels), graph_(model.graph()) {
    for (const LayerPlan& layer : plan.layers) {
      if (layer.compute != LayerCompute::kInt8) continue;
      int8_weights_.insert(layer.weight);
      int8_layers_.insert(layer.node);
    }
  }

  absl::StatusOr<Graph> Run() {
    for (auto& [name, tensor] : graph_.initializers) {
      const auto trained = model_.parameters().find(name);
      if (trained != model_.parameters().end()) tensor = trained->second.detach().to(at::kCPU).contiguous();
    }
    // Biases first: one that does not fit raises its weight's scales.
    const size_t nodes_before = graph_.nodes.size();
    for (size_t i = 0; i < nodes_before; ++i) {
      if (graph_.nodes[i].op_type == "FakeQuantizeBias") PACTORY_RETURN_IF_ERROR(LowerBias(Node(graph_.nodes[i])));
    }
    // New nodes go to the end, so that their names are checked against all others; the sort puts them in place.
    const size_t count = graph_.nodes.size();
    for (size_t i = 0; i < count; ++i) {
      if (graph_.nodes[i].op_type != "FakeQuantize") continue;
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

  absl::Status LowerBias(const Node& node) {
    const std::string& bias = node.inputs[0];
    const std::string& weight_name = node.inputs[1];
    Quantizer* input = model_.Find(node.StringOr("input_quantizer", ""));
    Quantizer* weight = model_.Find(node.StringOr("weight_quantizer", ""));
    if (input == nullptr || weight == nullptr) return absl::InternalError(absl::StrCat("node has no quantizer: ", node.name));
    const QuantizedBias quantized =
        QuantizeBias(graph_.initializers.at(bias), input->Scales({}).item<float>(), WeightScales(weight_name, *weight));
    if (!quantized.raised_channels.empty()) {
      weight_scales_[weight_name] = quantized.weight_scales;
      raised_channels_[weight_name] = static_cast<int64_t>(quantized.raised_channels.size());
    }
    const std::string values = graph_.UniqueValueName(absl::StrCat(bias, "_int32"));
    graph_.initializers[values] = quantized.values;
    Node dequantize = MakeNode("DequantizeLinear", {values, Constant(absl::StrCat(bias, "_scale"), quantized.scales)},
                               node.outputs[0]);
    dequantize.attributes["axis"] = int64_t{0};
    graph_.nodes.push_back(std::move(dequantize));
    return absl::OkStatus();
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
    const bool is_int4 = config_.pack_int4() && quantizer.grid().qmax <= kLargestInt4;
    // One value in each byte until the file is written.
    graph_.initializers[stored] = is_int4 ? values.view(at::kInt4) : values;
    if (is_int4 || int8_weights_.contains(weight)) {
      AddDequantize(node, stored, scales, axis);
    } else {
      AddCastAndMul(node, stored, scales, axis);
    }
  }

  void AddDequantize(const Node& node, const std::string& stored, const at::Tensor& scales, int64_t axis) {
    const bool per_channel = axis >= 0;
    const at::Tensor scale = per_channel ? scales : scales.reshape({});
    std::vector<std::string> inputs = {stored, Constant(absl::StrCat(stored, "_scale"), scale)};
    const std::vector<const Node*> readers = std::as_const(graph_).Consumers(node.outputs[0]);
    const bool fuses = graph_.initializers.at(stored).scalar_type() == at::kChar;
    if (fuses && std::any_of(readers.begin(), readers.end(), [](const Node* reader) { return NeedsWeightZeroPoint(*reader); })) {
      inputs.push_back(Constant(absl::StrCat(stored, "_zero"), at::zeros(scale.sizes(), at::kChar)));
    }
    Node dequantize = MakeNode("DequantizeLinear", std::move(inputs), node.outputs[0]);
    if (per_channel) dequantize.attributes["axis"] = axis;
    graph_.nodes.push_back(std::move(dequantize));
  }

  void AddCastAndMul(const Node& node, const std::string& stored, const at::Tensor& scales, int64_t axis) {
    std::vector<int64_t> shape;
    if (axis >= 0) {
      shape.assign(graph_.initializers.at(stored).dim(), 1);
      shape[axis] = scales.numel();
    }
    const std::string as_float = graph_.UniqueValueName(absl::StrCat(stored, "_float"));
    Node cast = MakeNode("Cast", {stored}, as_float);
    cast.attributes["to"] = int64_t{onnx::TensorProto::FLOAT};
    graph_.nodes.push_back(std::move(cast));
    graph_.nodes.push_back(
        MakeNode("Mul", {as_float, Constant(absl::StrCat(stored, "_scale"), scales.reshape(shape))}, node.outputs[0]));
  }

  // ONNX Runtime takes each Conv, ConvTranspose and Gemm between a DequantizeLinear and a QuantizeLinear, also with an activation behind it,
  // for one to be computed in int8, and quantizes a float weight by itself, with one scale for all channels.
  bool IsTakenForInt8(const std::string& value) const {
    static const std::set<std::string> kProducts = {"Conv", "ConvTranspose", "Gemm"};
    static const std::set<std::string> kActivations = {"Relu", "LeakyRelu", "Clip"};
    const bool for_onnx_runtime = RulesOf(config_.profile()).quantizes_outputs;
    const Node* writer = std::as_const(graph_).Producer(value);
    if (writer != nullptr && kActivations.contains(writer->op_type)) writer = std::as_const(graph_).Producer(writer->inputs[0]);
    if (!for_onnx_runtime || writer == nullptr || !writer->domain.empty() || !kProducts.contains(writer->op_type)) return false;
    const Node* input = std::as_const(graph_).Producer(writer->inputs[0]);
    const bool reads_quantized = input != nullptr && (input->op_type == "FakeQuantize" || input->op_type == "DequantizeLinear");
    return reads_quantized && !int8_layers_.contains(writer->name);
  }

  // Max(value, lower end of the grid) leaves what the grid makes of the value as it is, and stands between a layer and its QuantizeLinear.
  std::string AddFloor(const std::string& value, const Quantizer& quantizer, const at::Tensor& scale) {
    const std::string output = graph_.UniqueValueName(absl::StrCat(value, "_floored"));
    const at::Tensor low = scale.mul(static_cast<double>(quantizer.grid().qmin));
    graph_.nodes.push_back(MakeNode("Max", {value, Constant(absl::StrCat(value, "_floor"), low)}, output));
    return output;
  }

  // What a Clip reads that the QuantizeLinear alone reads, where the ends of `grid` can do the Clip's work: a layer then fuses with the
  // QuantizeLinear behind it. Ends that lie beyond the Clip's move there, for a layer computed in int8; integers that are clipped stand
  // for the same values. Else `value`.
  std::string WithoutClip(const std::string& value, const at::Tensor& scale, StoredGrid& grid) const {
    const Node* clip = std::as_const(graph_).Producer(value);
    if (clip == nullptr || clip->op_type != "Clip" || graph_.IsOutput(value) || std::as_const(graph_).Consumers(value).size() != 1) {
      return value;
    }
    const std::optional<ClipRange> ends = ClippedTo(graph_, *clip);
    if (!ends) return value;
    const auto stored = [&](double end) {
      const double steps = at::full({}, end, at::kFloat).div(scale).round().item<double>() + static_cast<double>(grid.zero_point);
      return static_cast<int64_t>(std::clamp(steps, static_cast<double>(grid.low), static_cast<double>(grid.high)));
    };
    const int64_t low = stored(ends->low), high = stored(ends->high);
    const Node* layer = std::as_const(graph_).Producer(clip->inputs[0]);
    const bool may_move = layer != nullptr && int8_layers_.contains(layer->name) && RulesOf(config_.profile()).quantizes_outputs;
    if (!may_move && (low != grid.low || high != grid.high)) return value;
    grid.low = low;
    grid.high = high;
    return clip->inputs[0];
  }

  void LowerActivation(const Node& node, Quantizer& quantizer) {
    StoredGrid grid = StoreGrid(quantizer.grid(), config_);
    const at::Tensor scale = quantizer.Scales({}).reshape({});
    const std::string scale_name = Constant(absl::StrCat(quantizer.spec().id, "_scale"), scale);
    const std::string zero = Constant(absl::StrCat("zero_", grid.zero_point), at::full({}, grid.zero_point, grid.type));
    const std::string value = WithoutClip(node.inputs[0], scale, grid);
    const std::string input = IsTakenForInt8(value) ? AddFloor(value, quantizer, scale) : value;
    std::string integers = graph_.UniqueValueName(absl::StrCat(input, "_int"));
    graph_.nodes.push_back(MakeNode("QuantizeLinear", {input, scale_name, zero}, integers));
    if (!grid.fills_type()) {
      const std::string clipped = graph_.UniqueValueName(absl::StrCat(input, "_clipped"));
      const std::string low = Constant(absl::StrCat(input, "_low"), at::full({}, grid.low, grid.type));
      const std::string high = Constant(absl::StrCat(input, "_high"), at::full({}, grid.high, grid.type));
      graph_.nodes.push_back(MakeNode("Clip", {integers, low, high}, clipped));
      integers = clipped;
    }
    graph_.nodes.push_back(MakeNode("DequantizeLinear", {integers, scale_name, zero}, node.outputs[0]));
  }

  QuantizedModel& model_;
  const v1::ExportConfig& config_;
  std::map<std::string, int64_t>& raised_channels_;
  Graph graph_;
  // Weights of layers that are computed in int8, and these.
  std::set<std::string> int8_weights_;
  std::set<std::string> int8_layers_;
  std::map<std::string, at::Tensor> weight_scales_;
  std::vector<std::pair<std::string, at::Tensor>> made_;
};

}  // namespace

absl::StatusOr<Graph> LowerQuantizers(QuantizedModel& model, const QuantizationPlan& plan,
                                      const v1::ExportConfig& config, std::map<std::string, int64_t>& raised_channels) {
  return Lowering(model, plan, config, raised_channels).Run();
}

}  // namespace pactory::quant
