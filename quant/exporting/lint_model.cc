#include "quant/exporting/lint_model.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "quant/exporting/pair_sums.h"
#include "quant/exporting/upgrade_opset.h"
#include "quant/onnx/tensor.h"

namespace pactory::quant {
namespace {

using Profile = v1::ExportConfig;

constexpr int64_t kPairOpset = 10;
constexpr int64_t kChannelOpset = 13;
// Bias scales are products of two floats.
constexpr double kScaleTolerance = 1e-5;

bool IsOp(const Node& node, const std::set<std::string>& ops) { return ops.contains(node.op_type); }
bool IsProduct(const Node& node) { return IsOp(node, {"Conv", "ConvTranspose", "Gemm", "MatMul"}); }
bool IsIntegerOperator(const Node& node) {
  return IsOp(node, {"QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "QGemm", "QLinearAdd", "MatMulIntegerToFloat"});
}

std::string IntegerName(at::ScalarType type) {
  switch (type) {
    case at::kByte: return "uint8";
    case at::kChar: return "int8";
    case at::kInt: return "int32";
    case at::kInt4: return "INT4";
    case at::kUInt4: return "UINT4";
    default: return c10::toString(type);
  }
}

class Linter {
 public:
  Linter(const Graph& graph, Profile::Profile profile) : graph_(graph), profile_(profile) {}

  std::vector<LintFinding> Run() {
    bool any = false;
    for (const Node& node : graph_.nodes) {
      any = any || IsOp(node, {"DequantizeLinear"}) || IsIntegerOperator(node) || ExpandsWeight(node);
      if (IsOp(node, {"QuantizeLinear", "DequantizeLinear"})) CheckPair(node);
      if (IsOp(node, {"QuantizeLinear"})) CheckReaders(node);
      if (IsProduct(node)) CheckProduct(node);
      if (IsOp(node, {"QLinearConv"})) CheckQLinearConv(node);
      if (IsIntegerOperator(node)) CheckOperator(node);
      if (profile_ == Profile::TENSORRT && IsOp(node, {"Add"})) CheckResidual(node);
    }
    if (!any) Add(LintSeverity::kError, "quantized", nullptr, "nothing in the file is quantized");
    return std::move(findings_);
  }

 private:
  // A weight-only layer's: int8 values that are cast to float.
  bool ExpandsWeight(const Node& node) const {
    if (!IsOp(node, {"Cast"})) return false;
    const auto stored = graph_.initializers.find(node.inputs[0]);
    return stored != graph_.initializers.end() && stored->second.scalar_type() == at::kChar;
  }

  void Add(LintSeverity severity, const char* rule, const Node* node, std::string message) {
    findings_.push_back({.severity = severity,
                         .rule = rule,
                         .node = node == nullptr ? "" : node->name,
                         .op_type = node == nullptr ? "" : node->op_type,
                         .message = std::move(message)});
  }
  void Error(const char* rule, const Node& node, std::string message) { Add(LintSeverity::kError, rule, &node, std::move(message)); }
  void Warn(const char* rule, const Node& node, std::string message) { Add(LintSeverity::kWarning, rule, &node, std::move(message)); }

  const at::Tensor* Stored(const std::string& value) const {
    const auto found = graph_.initializers.find(value);
    return found == graph_.initializers.end() ? nullptr : &found->second;
  }

  const Node* Dequantizer(const std::string& value) const {
    const Node* node = graph_.Producer(value);
    return node != nullptr && IsOp(*node, {"DequantizeLinear"}) ? node : nullptr;
  }

  const Node* OnlyReader(const std::string& value) const {
    const std::vector<const Node*> readers = graph_.Consumers(value);
    return readers.size() == 1 && !graph_.IsOutput(value) ? readers[0] : nullptr;
  }

  // Type of the integers that a Q writes or a DQ reads, where the file tells.
  std::optional<at::ScalarType> IntegerType(const Node& node) const {
    if (const at::Tensor* zero = node.inputs.size() > 2 ? Stored(node.inputs[2]) : nullptr) return zero->scalar_type();
    if (IsOp(node, {"QuantizeLinear"})) return at::kByte;
    if (const at::Tensor* values = Stored(node.inputs[0])) return values->scalar_type();
    const Node* producer = graph_.Producer(node.inputs[0]);
    if (producer != nullptr && IsOp(*producer, {"Clip"})) producer = graph_.Producer(producer->inputs[0]);
    if (producer != nullptr && IsOp(*producer, {"QuantizeLinear"})) return IntegerType(*producer);
    return std::nullopt;
  }

  void CheckPair(const Node& node) {
    if (graph_.opset() < kPairOpset) Error("opset", node, absl::StrCat("needs opset 10 or later, the file has ", graph_.opset()));
    if (node.inputs.size() < 2) return Error("scale", node, "must have a scale");
    const at::Tensor* scale = Stored(node.inputs[1]);
    if (scale == nullptr) return Error("scale", node, "scale must be stored in the file, not computed");
    const at::Tensor values = scale->to(at::kDouble);
    if (!values.isfinite().all().item<bool>() || values.le(0).any().item<bool>()) {
      Error("scale", node, "scale must be positive and finite");
    }
    if (scale->numel() > 1 && graph_.opset() < kChannelOpset) {
      Error("opset", node, absl::StrCat("scales per channel need opset 13 or later, the file has ", graph_.opset()));
    }
    const std::optional<at::ScalarType> type = IntegerType(node);
    if (type == at::kInt4 || type == at::kUInt4) {
      if (graph_.opset() < kInt4Opset) Error("opset", node, absl::StrCat("INT4 needs opset 21 or later, the file has ", graph_.opset()));
    }
    CheckZeroPoint(node, *scale);
    if (type.has_value()) CheckType(node, *type);
  }

  void CheckZeroPoint(const Node& node, const at::Tensor& scale) {
    if (node.inputs.size() < 3 || node.inputs[2].empty()) return;
    const at::Tensor* zero = Stored(node.inputs[2]);
    if (zero == nullptr) return Error("scale", node, "zero point must be stored in the file, not computed");
    if (zero->sizes() != scale.sizes()) return Error("scale", node, "zero point must have the shape of the scale");
    const bool is_zero = BytesOf(*zero).eq(0).all().item<bool>();
    const at::Tensor* values = Stored(node.inputs[0]);
    if (values != nullptr && values->scalar_type() != zero->scalar_type()) {
      Error("scale", node, "zero point must have the type of the integers");
    }
    if (values != nullptr && values->scalar_type() == at::kInt && !is_zero) Error("bias", node, "zero point of a bias must be 0");
    if (values != nullptr && values->dim() > 1 && !is_zero) Error("weight-zero-point", node, "zero point of a weight must be 0");
    if (values == nullptr && profile_ == Profile::TENSORRT && !is_zero) {
      Error("zero-point", node, "TensorRT takes zero point 0 alone: make the activations symmetric");
    }
  }

  void CheckType(const Node& node, at::ScalarType type) {
    const bool is_weight = Stored(node.inputs[0]) != nullptr;
    const auto refuse = [&](const std::string& want) {
      Error("type", node, absl::StrCat("integers must be ", want, ", not ", IntegerName(type)));
    };
    if (profile_ == Profile::TENSORRT) {
      if (is_weight && type == at::kInt) return Error("type", node, "TensorRT takes float biases");
      if (type != at::kChar && type != at::kInt4) refuse("int8 (or INT4 for weights)");
    } else if (profile_ == Profile::OPENVINO) {
      if (type != at::kChar && type != at::kByte && !(is_weight && (type == at::kInt || type == at::kInt4 || type == at::kUInt4))) {
        refuse("int8 or uint8 (or INT4 for weights)");
      }
    } else if (!is_weight && type != at::kChar && type != at::kByte) {
      Warn("type", node, "ONNX Runtime has int8 kernels for int8 and uint8 alone");
    }
  }

  // A Clip of the integers keeps a grid of fewer levels in ONNX Runtime; others fold the pair only where nothing stands between.
  void CheckReaders(const Node& node) {
    for (const Node* reader : graph_.Consumers(node.outputs[0])) {
      if (IsOp(*reader, {"DequantizeLinear"}) || IsIntegerOperator(*reader)) continue;
      const bool own_levels = profile_ == Profile::OPENVINO || profile_ == Profile::TENSORRT;
      if (own_levels) {
        Error("levels", node, absl::StrCat("integers must go to a DequantizeLinear at once, on all 256 levels, not to ", reader->op_type));
      } else if (!IsOp(*reader, {"Clip"}) && profile_ == Profile::ORT_CPU) {
        Error("pair", node, absl::StrCat("integers must be read by a DequantizeLinear, not by ", reader->op_type));
      }
    }
    if (graph_.IsOutput(node.outputs[0])) Warn("pair", node, "integers are an output of the graph");
  }

  void CheckProduct(const Node& node) {
    if (node.inputs.size() < 2) return;
    const Node* input = Dequantizer(node.inputs[0]);
    const Node* weight = Dequantizer(node.inputs[1]);
    if (weight != nullptr && Stored(weight->inputs[0]) != nullptr) CheckWeight(node, *weight);
    if (input == nullptr || weight == nullptr) return;
    if (node.inputs.size() > 2 && !node.inputs[2].empty()) {
      if (const Node* bias = Dequantizer(node.inputs[2])) CheckBias(*bias, *input, *weight);
    }
    if (profile_ == Profile::QOPERATOR && !IsOp(node, {"ConvTranspose"})) {
      Warn("fusion", node, "stands between Q/DQ pairs and could be an integer operator");
    }
    if (profile_ == Profile::ORT_CPU && IsOp(node, {"Conv"})) CheckConvFuses(node, *input);
    if (profile_ != Profile::TENSORRT && Stored(weight->inputs[0]) != nullptr) CheckPairSum(node, *Stored(weight->inputs[0]));
  }

  static int64_t OutputAxis(const Node& layer, const at::Tensor& weight) {
    if (IsOp(layer, {"Conv"})) return 0;
    if (IsOp(layer, {"ConvTranspose"})) return 1;
    if (IsOp(layer, {"Gemm"})) return layer.IntOr("transB", 0) != 0 ? 0 : 1;
    return weight.dim() - 1;
  }

  void CheckWeight(const Node& layer, const Node& dequantizer) {
    const at::Tensor& weight = *Stored(dequantizer.inputs[0]);
    const at::Tensor* scale = dequantizer.inputs.size() > 1 ? Stored(dequantizer.inputs[1]) : nullptr;
    if (scale == nullptr || scale->numel() == 1 || scale->dim() != 1) return;
    const int64_t axis = dequantizer.IntOr("axis", 1), normal = axis < 0 ? axis + weight.dim() : axis;
    if (normal < 0 || normal >= weight.dim() || weight.size(normal) != scale->numel()) {
      return Error("axis", dequantizer, absl::StrCat("must have as many scales as the weight has channels on axis ", axis));
    }
    if (normal != OutputAxis(layer, weight)) {
      Error("axis", dequantizer, absl::StrCat("scales must run over the output channels of ", layer.op_type, ", axis ",
                                              OutputAxis(layer, weight), ", not axis ", axis));
    }
  }

  void CheckBias(const Node& bias, const Node& input, const Node& weight) {
    const at::Tensor* stored = bias.inputs.size() > 1 ? Stored(bias.inputs[1]) : nullptr;
    const at::Tensor* x = input.inputs.size() > 1 ? Stored(input.inputs[1]) : nullptr;
    const at::Tensor* w = weight.inputs.size() > 1 ? Stored(weight.inputs[1]) : nullptr;
    if (stored == nullptr || x == nullptr || w == nullptr || x->numel() != 1) return;
    const at::Tensor want = (x->to(at::kDouble).reshape({1}) * w->to(at::kDouble).reshape({-1}));
    const at::Tensor have = stored->to(at::kDouble).reshape({-1});
    if (have.numel() != want.numel() && want.numel() != 1 && have.numel() != 1) {
      return Error("bias", bias, "must have one scale per output channel");
    }
    if ((have - want).abs().gt(want * kScaleTolerance).any().item<bool>()) {
      Error("bias", bias, "scale must be that of the input times that of the weight");
    }
  }

  // Only what runs through Relu into one Q of the same type becomes a QLinearConv.
  void CheckConvFuses(const Node& node, const Node& input) {
    const Node* reader = OnlyReader(node.outputs[0]);
    if (reader != nullptr && IsOp(*reader, {"Relu", "Clip"})) reader = OnlyReader(reader->outputs[0]);
    if (reader == nullptr || !IsOp(*reader, {"QuantizeLinear"})) {
      return Warn("fusion", node, "has quantized inputs but no QuantizeLinear as its only reader: it is computed in float");
    }
    const auto in = IntegerType(input), out = IntegerType(*reader);
    if (in.has_value() && out.has_value() && *in != *out) {
      return Warn("fusion", node, absl::StrCat("reads ", IntegerName(*in), " and writes ", IntegerName(*out), ": it is computed in float"));
    }
    const Node* read = graph_.Producer(input.inputs[0]);
    const Node* written = OnlyReader(reader->outputs[0]);
    const bool clipped = (read != nullptr && IsOp(*read, {"Clip"})) || (written != nullptr && IsOp(*written, {"Clip"}));
    if (clipped && in == at::kChar) {
      Warn("fusion", node, "reads or writes int8 integers that a Clip narrows: on x86-64 it is computed in float; uint8 is not");
    }
  }

  void CheckPairSum(const Node& node, const at::Tensor& weight) {
    if (weight.scalar_type() != at::kChar || weight.dim() < 2) return;
    const bool is_conv = IsOp(node, {"Conv", "QLinearConv"});
    Node layer = node;
    if (is_conv) layer.op_type = "Conv";
    const int64_t channels = is_conv ? weight.size(1) * node.IntOr("group", 1)
                                     : weight.size(IsOp(node, {"Gemm"}) && node.IntOr("transB", 0) != 0 ? 1 : weight.dim() - 2);
    const StoredRange all = {at::zeros({channels}), at::full({channels}, 255.0f)};
    if (LargestPairSum(layer, weight, all, 0) <= 1) return;
    Warn("pair-sum", node, "sums of two products can pass 16 bits and saturate on CPUs without VNNI; weights in [-63, 63] can't");
  }

  void CheckQLinearConv(const Node& node) {
    if (node.inputs.size() < 8) return Error("scale", node, "must have its eight scales and zero points");
    for (const int index : {1, 2, 4, 5, 6, 7}) {
      if (Stored(node.inputs[index]) == nullptr) return Error("scale", node, "scales and zero points must be stored in the file");
    }
    for (const int index : {1, 4, 6}) {
      const at::Tensor values = Stored(node.inputs[index])->to(at::kDouble);
      if (!values.isfinite().all().item<bool>() || values.le(0).any().item<bool>()) {
        Error("scale", node, "scale must be positive and finite");
      }
    }
    if (!BytesOf(*Stored(node.inputs[5])).eq(0).all().item<bool>()) Error("weight-zero-point", node, "zero point of a weight must be 0");
    const at::Tensor* weight = Stored(node.inputs[3]);
    if (weight == nullptr) return;
    if (Stored(node.inputs[4])->numel() > 1 && Stored(node.inputs[4])->numel() != weight->size(0)) {
      Error("axis", node, "must have one scale per output channel");
    }
    if (profile_ != Profile::TENSORRT) CheckPairSum(node, *weight);
  }

  void CheckOperator(const Node& node) {
    if (profile_ == Profile::TENSORRT) Error("operator", node, "TensorRT takes Q/DQ pairs alone, no integer operators");
    if (profile_ == Profile::OPENVINO && node.domain == "com.microsoft") {
      Error("operator", node, "is an operator of ONNX Runtime's own");
    }
  }

  void CheckResidual(const Node& node) {
    if (node.inputs.size() != 2) return;
    for (const int fused : {0, 1}) {
      const Node* layer = graph_.Producer(node.inputs[fused]);
      if (layer == nullptr || !IsProduct(*layer) || Dequantizer(layer->inputs[0]) == nullptr || layer->inputs.size() < 2 ||
          Dequantizer(layer->inputs[1]) == nullptr || graph_.Consumers(node.inputs[fused]).size() != 1) {
        continue;
      }
      const std::string& residual = node.inputs[1 - fused];
      if (Stored(residual) != nullptr || Dequantizer(residual) != nullptr) return;
      const Node* other = graph_.Producer(residual);
      // Two layers that are added: one of them is the residual branch, and its pair stands before the Add.
      Warn("residual", node, absl::StrCat("its other input", other == nullptr ? "" : absl::StrCat(" (of ", other->name, ")"),
                                          " is float, so that it is not fused with ", layer->name));
      return;
    }
  }

  const Graph& graph_;
  const Profile::Profile profile_;
  std::vector<LintFinding> findings_;
};

}  // namespace

std::vector<LintFinding> LintModel(const Graph& graph, v1::ExportConfig::Profile profile) { return Linter(graph, profile).Run(); }

}  // namespace pactory::quant
