#include "quant/exporting/size_breakdown.h"

#include <onnx/onnx_pb.h>

#include <set>
#include <string>

namespace pactory::quant {
namespace {

int64_t ElementBytes(const onnx::TensorProto& tensor) {
  return static_cast<int64_t>(tensor.raw_data().size()) + 4 * tensor.float_data_size() + 4 * tensor.int32_data_size() +
         8 * tensor.int64_data_size() + 8 * tensor.double_data_size();
}

}  // namespace

absl::StatusOr<SizeBreakdown> BreakDownSize(absl::string_view model_bytes) {
  onnx::ModelProto model;
  if (!model.ParseFromArray(model_bytes.data(), static_cast<int>(model_bytes.size()))) {
    return absl::InvalidArgumentError("file must be a serialized ONNX model");
  }
  const onnx::GraphProto& graph = model.graph();
  std::set<std::string> stored, casts;
  for (const onnx::TensorProto& tensor : graph.initializer()) stored.insert(tensor.name());
  SizeBreakdown sizes;
  for (const onnx::NodeProto& node : graph.node()) {
    int64_t stored_bytes = 0;
    if (node.op_type() == "Constant" && node.attribute_size() > 0) stored_bytes = ElementBytes(node.attribute(0).t());
    // Some exporters keep weights in Constant nodes.
    sizes.weights += stored_bytes;
    sizes.nodes += static_cast<int64_t>(node.ByteSizeLong()) - stored_bytes;
    if (node.op_type() == "Cast" && stored.contains(node.input(0))) casts.insert(node.output(0));
  }
  std::set<std::string> scales, biases;
  for (const onnx::NodeProto& node : graph.node()) {
    const bool is_pair = node.op_type() == "QuantizeLinear" || node.op_type() == "DequantizeLinear";
    const bool is_scaled_weight = node.op_type() == "Mul" && node.input_size() == 2 && casts.contains(node.input(0));
    if (is_pair || is_scaled_weight) {
      for (int i = 1; i < node.input_size(); ++i) scales.insert(node.input(i));
    }
    const bool has_bias = node.op_type() == "Conv" || node.op_type() == "ConvTranspose" || node.op_type() == "Gemm";
    if (has_bias && node.input_size() == 3) biases.insert(node.input(2));
  }
  for (const onnx::TensorProto& tensor : graph.initializer()) {
    const int64_t bytes = ElementBytes(tensor);
    if (scales.contains(tensor.name())) {
      sizes.scales += bytes;
    } else if (tensor.data_type() == onnx::TensorProto::INT32 || biases.contains(tensor.name())) {
      sizes.biases += bytes;
    } else {
      sizes.weights += bytes;
    }
  }
  sizes.other = static_cast<int64_t>(model_bytes.size()) - sizes.weights - sizes.scales - sizes.biases - sizes.nodes;
  return sizes;
}

}  // namespace pactory::quant
