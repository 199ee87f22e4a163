#include "quant/exporting/fuse_to_qoperators.h"

#include <ATen/ATen.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "quant/ops/registry.h"

namespace pactory::quant {
namespace {

constexpr char kMicrosoft[] = "com.microsoft";

// What stands behind or in front of a pair: the integers, and how they are read.
struct Integers {
  std::string values;
  std::string scale;
  std::string zero_point;
};

class Fuser {
 public:
  explicit Fuser(Graph& graph) : graph_(graph) {}

  void Run() {
    for (size_t i = 0; i < graph_.nodes.size(); ++i) {
      Node node = graph_.nodes[i];
      if (!node.domain.empty() || node.outputs.size() != 1) continue;
      if (std::optional<Node> fused = Fuse(node)) {
        fused->name = node.name;
        if (fused->domain == kMicrosoft) graph_.opsets[kMicrosoft] = 1;
        graph_.nodes[i] = *std::move(fused);
        DropQuantizers(graph_.nodes[i].outputs[0], i);
      }
    }
    graph_.RemoveDeadCode();
  }

 private:
  std::optional<Node> Fuse(const Node& node) {
    if (node.op_type == "Conv") return FuseConv(node);
    if (node.op_type == "MatMul") return FuseMatMul(node);
    if (node.op_type == "Gemm") return FuseGemm(node);
    if (node.op_type == "Add") return FuseAdd(node);
    const OpDefinition* op = FindOp(graph_, node);
    if (op != nullptr && op->role == QuantizationRole::kPassThrough) return FuseMove(node);
    return std::nullopt;
  }

  std::optional<Integers> ReadBehind(const std::string& value) {
    const Node* node = std::as_const(graph_).Producer(value);
    if (node == nullptr || node->op_type != "DequantizeLinear") return std::nullopt;
    return Integers{node->inputs[0], node->inputs[1], node->inputs.size() > 2 ? node->inputs[2] : ""};
  }

  // As ReadBehind for a stored weight, whose zero point operators want to be named.
  std::optional<Integers> ReadWeight(const std::string& value) {
    std::optional<Integers> weight = ReadBehind(value);
    if (!weight.has_value() || !graph_.initializers.contains(weight->values)) return std::nullopt;
    if (graph_.initializers.at(weight->values).scalar_type() != at::kChar) return std::nullopt;
    if (weight->zero_point.empty()) {
      weight->zero_point = graph_.UniqueValueName(absl::StrCat(weight->values, "_zero"));
      graph_.initializers[weight->zero_point] = at::zeros(graph_.initializers.at(weight->scale).sizes(), at::kChar);
    }
    return weight;
  }

  // The bias' int32 integers; "" where there is none, nullopt where it is float.
  std::optional<std::string> ReadBias(const Node& node) {
    if (node.inputs.size() < 3 || node.inputs[2].empty()) return "";
    const std::optional<Integers> bias = ReadBehind(node.inputs[2]);
    if (!bias.has_value()) return std::nullopt;
    return bias->values;
  }

  const Node* OnlyReader(const std::string& value) const {
    if (graph_.IsOutput(value)) return nullptr;
    const std::vector<const Node*> readers = std::as_const(graph_).Consumers(value);
    return readers.size() == 1 ? readers[0] : nullptr;
  }

  // What the Q behind a value writes, looked at through a Relu that its saturation does anyway.
  std::optional<Integers> WriteBefore(const std::string& value) const {
    const Node* reader = OnlyReader(value);
    bool through_relu = false;
    if (reader != nullptr && reader->op_type == "Relu" && reader->domain.empty()) {
      through_relu = true;
      reader = OnlyReader(reader->outputs[0]);
    }
    if (reader == nullptr || reader->op_type != "QuantizeLinear" || reader->inputs.size() < 3) return std::nullopt;
    const at::Tensor& zero = graph_.initializers.at(reader->inputs[2]);
    if (through_relu && !(zero.scalar_type() == at::kByte && zero.item<int>() == 0)) return std::nullopt;
    return Integers{reader->outputs[0], reader->inputs[1], reader->inputs[2]};
  }

  static Node Make(const std::string& op, const std::string& domain, std::vector<std::string> inputs, const std::string& output) {
    Node node;
    node.op_type = op;
    node.domain = domain;
    node.inputs = std::move(inputs);
    node.outputs = {output};
    return node;
  }

  std::optional<Node> FuseConv(const Node& node) {
    const auto x = ReadBehind(node.inputs[0]);
    const auto y = WriteBefore(node.outputs[0]);
    const auto bias = ReadBias(node);
    if (!x || !y || !bias) return std::nullopt;
    const auto w = ReadWeight(node.inputs[1]);
    if (!w) return std::nullopt;
    Node fused = Make("QLinearConv", "", {x->values, x->scale, x->zero_point, w->values, w->scale, w->zero_point, y->scale, y->zero_point},
                      y->values);
    if (!bias->empty()) fused.inputs.push_back(*bias);
    fused.attributes = node.attributes;
    return fused;
  }

  std::optional<Node> FuseMatMul(const Node& node) {
    const auto a = ReadBehind(node.inputs[0]);
    if (!a) return std::nullopt;
    const auto b = ReadWeight(node.inputs[1]);
    if (!b) return std::nullopt;
    if (const auto y = WriteBefore(node.outputs[0])) {
      return Make("QLinearMatMul", "", {a->values, a->scale, a->zero_point, b->values, b->scale, b->zero_point, y->scale, y->zero_point},
                  y->values);
    }
    return Make("MatMulIntegerToFloat", kMicrosoft, {a->values, b->values, a->scale, b->scale, a->zero_point, b->zero_point},
                node.outputs[0]);
  }

  std::optional<Node> FuseGemm(const Node& node) {
    const auto a = ReadBehind(node.inputs[0]);
    const auto bias = ReadBias(node);
    if (!a || !bias || node.FloatOr("beta", 1) != 1) return std::nullopt;
    const auto b = ReadWeight(node.inputs[1]);
    if (!b) return std::nullopt;
    Node fused = Make("QGemm", kMicrosoft, {a->values, a->scale, a->zero_point, b->values, b->scale, b->zero_point, *bias}, node.outputs[0]);
    if (const auto y = WriteBefore(node.outputs[0])) {
      fused.inputs.insert(fused.inputs.end(), {y->scale, y->zero_point});
      fused.outputs = {y->values};
    }
    fused.attributes = node.attributes;
    fused.attributes.erase("beta");
    return fused;
  }

  std::optional<Node> FuseAdd(const Node& node) {
    const auto a = ReadBehind(node.inputs[0]), b = ReadBehind(node.inputs[1]);
    const auto y = WriteBefore(node.outputs[0]);
    if (!a || !b || !y) return std::nullopt;
    return Make("QLinearAdd", kMicrosoft,
                {a->values, a->scale, a->zero_point, b->values, b->scale, b->zero_point, y->scale, y->zero_point}, y->values);
  }

  // Equal constants are stored once, so one scale has one name.
  std::optional<Node> FuseMove(const Node& node) {
    const auto x = ReadBehind(node.inputs[0]);
    const Node* reader = OnlyReader(node.outputs[0]);
    const auto y = WriteBefore(node.outputs[0]);
    const bool same = x && y && reader->op_type == "QuantizeLinear" && x->scale == y->scale && x->zero_point == y->zero_point;
    if (!same) return std::nullopt;
    Node moved = node;
    moved.inputs[0] = x->values;
    moved.outputs = {y->values};
    return moved;
  }

  // The Q whose output a fused node now writes.
  void DropQuantizers(const std::string& value, size_t fused) {
    for (size_t i = graph_.nodes.size(); i-- > fused + 1;) {
      if (graph_.nodes[i].outputs[0] == value) graph_.nodes.erase(graph_.nodes.begin() + static_cast<int64_t>(i));
    }
  }

  Graph& graph_;
};

}  // namespace

void FuseToQoperators(Graph& graph) { Fuser(graph).Run(); }

}  // namespace pactory::quant
