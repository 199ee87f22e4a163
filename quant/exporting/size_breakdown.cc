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
  SizeBreakdown sizes;
  std::set<std::string> scales;
  for (const onnx::NodeProto& node : model.graph().node()) {
    sizes.nodes += static_cast<int64_t>(node.ByteSizeLong());
    if (node.op_type() != "QuantizeLinear" && node.op_type() != "DequantizeLinear") continue;
    for (int i = 1; i < node.input_size(); ++i) scales.insert(node.input(i));
  }
  for (const onnx::TensorProto& tensor : model.graph().initializer()) {
    const int64_t bytes = ElementBytes(tensor);
    if (scales.contains(tensor.name())) {
      sizes.scales += bytes;
    } else if (tensor.data_type() == onnx::TensorProto::INT32) {
      sizes.biases += bytes;
    } else {
      sizes.weights += bytes;
    }
  }
  sizes.other = static_cast<int64_t>(model_bytes.size()) - sizes.weights - sizes.scales - sizes.biases - sizes.nodes;
  return sizes;
}

}  // namespace pactory::quant
