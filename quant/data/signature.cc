#include "quant/data/signature.h"

#include <onnx/onnx_pb.h>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "quant/onnx/tensor.h"

namespace pactory::quant {
namespace {

absl::StatusOr<v1::TensorInfo> DescribeValue(const ValueInfo& value) {
  v1::TensorInfo info;
  info.set_name(value.name);
  PACTORY_ASSIGN_OR_RETURN(const int type, OnnxTypeOf(value.type));
  info.set_element_type(absl::AsciiStrToLower(onnx::TensorProto_DataType_Name(static_cast<onnx::TensorProto_DataType>(type))));
  info.mutable_dims()->Assign(value.dims.begin(), value.dims.end());
  return info;
}

}  // namespace

absl::StatusOr<v1::Model> SignatureOf(const Graph& graph) {
  v1::Model model;
  for (const ValueInfo& input : graph.inputs) {
    if (input.rank_known && input.dims.empty()) {
      return absl::InvalidArgumentError(absl::StrCat("model's input ", input.name, " must have the batch as its first axis, and is a "
                                                     "single number; make it a constant of the model"));
    }
    PACTORY_ASSIGN_OR_RETURN(*model.add_inputs(), DescribeValue(input));
  }
  for (const ValueInfo& output : graph.outputs) {
    PACTORY_ASSIGN_OR_RETURN(*model.add_outputs(), DescribeValue(output));
  }
  return model;
}

}  // namespace pactory::quant
