#include "quant/exporting/serialize_graph.h"

#include <onnx/onnx_pb.h>

#include <variant>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "quant/onnx/tensor.h"

namespace pactory::quant {
namespace {

template <typename... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <typename... F>
Overloaded(F...) -> Overloaded<F...>;

absl::StatusOr<onnx::AttributeProto> ToProto(const std::string& name, const Attribute& attribute) {
  onnx::AttributeProto proto;
  proto.set_name(name);
  const absl::Status status = std::visit(
      Overloaded{
          [&](int64_t value) {
            proto.set_type(onnx::AttributeProto::INT);
            proto.set_i(value);
            return absl::OkStatus();
          },
          [&](float value) {
            proto.set_type(onnx::AttributeProto::FLOAT);
            proto.set_f(value);
            return absl::OkStatus();
          },
          [&](const std::string& value) {
            proto.set_type(onnx::AttributeProto::STRING);
            proto.set_s(value);
            return absl::OkStatus();
          },
          [&](const std::vector<int64_t>& values) {
            proto.set_type(onnx::AttributeProto::INTS);
            proto.mutable_ints()->Add(values.begin(), values.end());
            return absl::OkStatus();
          },
          [&](const std::vector<float>& values) {
            proto.set_type(onnx::AttributeProto::FLOATS);
            proto.mutable_floats()->Add(values.begin(), values.end());
            return absl::OkStatus();
          },
          [&](const std::vector<std::string>& values) {
            proto.set_type(onnx::AttributeProto::STRINGS);
            for (const std::string& value : values) proto.add_strings(value);
            return absl::OkStatus();
          },
          [&](const at::Tensor& value) -> absl::Status {
            proto.set_type(onnx::AttributeProto::TENSOR);
            PACTORY_ASSIGN_OR_RETURN(*proto.mutable_t(), TensorToProto(value, ""));
            return absl::OkStatus();
          },
          [&](const std::shared_ptr<const Graph>&) -> absl::Status {
            return absl::UnimplementedError("graphs inside attributes can't be exported");
          },
      },
      attribute);
  if (!status.ok()) return status;
  return proto;
}

absl::Status AddValueInfo(const ValueInfo& info, onnx::ValueInfoProto* proto) {
  proto->set_name(info.name);
  auto* type = proto->mutable_type()->mutable_tensor_type();
  PACTORY_ASSIGN_OR_RETURN(const int element_type, OnnxTypeOf(info.type));
  type->set_elem_type(element_type);
  for (size_t axis = 0; axis < info.dims.size(); ++axis) {
    auto* dim = type->mutable_shape()->add_dim();
    if (info.dims[axis] >= 0) {
      dim->set_dim_value(info.dims[axis]);
    } else if (axis == 0) {
      // One name says that inputs and outputs share it; other open dimensions may differ.
      dim->set_dim_param("N");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> SerializeGraph(const Graph& graph) {
  onnx::ModelProto model;
  model.set_ir_version(kExportIrVersion);
  model.set_producer_name("pactory");
  for (const auto& [domain, version] : graph.opsets) {
    if (!domain.empty() && domain != "ai.onnx") continue;
    auto* opset = model.add_opset_import();
    opset->set_domain(domain);
    opset->set_version(version);
  }
  onnx::GraphProto* proto = model.mutable_graph();
  proto->set_name(graph.name.empty() ? "g" : graph.name);
  for (const ValueInfo& input : graph.inputs) PACTORY_RETURN_IF_ERROR(AddValueInfo(input, proto->add_input()));
  for (const ValueInfo& output : graph.outputs) PACTORY_RETURN_IF_ERROR(AddValueInfo(output, proto->add_output()));
  for (const auto& [name, tensor] : graph.initializers) {
    PACTORY_ASSIGN_OR_RETURN(*proto->add_initializer(), TensorToProto(tensor, name));
  }
  for (const Node& node : graph.nodes) {
    onnx::NodeProto* node_proto = proto->add_node();
    node_proto->set_op_type(node.op_type);
    if (!node.domain.empty()) node_proto->set_domain(node.domain);
    for (const std::string& input : node.inputs) node_proto->add_input(input);
    for (const std::string& output : node.outputs) node_proto->add_output(output);
    for (const auto& [name, attribute] : node.attributes) {
      auto converted = ToProto(name, attribute);
      if (!converted.ok()) {
        return Prefixed(converted.status(), absl::StrCat("node ", node.name, " (", node.op_type, "): "));
      }
      *node_proto->add_attribute() = *std::move(converted);
    }
  }
  std::string bytes;
  if (!model.SerializeToString(&bytes)) {
    return absl::UnimplementedError("models of 2 GiB and more can't be exported as one file");
  }
  return bytes;
}

}  // namespace pactory::quant
