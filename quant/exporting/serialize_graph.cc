#include "quant/exporting/serialize_graph.h"

#include <onnx/onnx_pb.h>

#include <algorithm>
#include <memory>
#include <set>
#include <unordered_map>
#include <variant>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "quant/exporting/upgrade_opset.h"
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
            return absl::InternalError("graphs are written with their node");
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

// What the values of one graph are called in the file: those of a subgraph get a prefix, those from outside keep theirs.
struct Naming {
  std::string prefix;
  std::unordered_map<std::string, std::string> outer;

  std::string Of(const std::string& value) const {
    const auto found = outer.find(value);
    return found != outer.end() ? found->second : value.empty() ? "" : absl::StrCat(prefix, value);
  }
};

absl::Status AddNodes(const Graph& graph, const Naming& naming, onnx::GraphProto* proto);

// Subgraphs read outer values by name; types are the runtime's to infer.
absl::Status AddSubgraph(const Graph& graph, const Node& node, const std::string& attribute, const Naming& around,
                         onnx::NodeProto* node_proto) {
  Naming naming{.prefix = absl::StrCat(around.prefix, node.name, "/", attribute, "/"), .outer = {}};
  const size_t own = graph.inputs.size() - graph.captured.size();
  for (size_t index = 0; index < graph.captured.size(); ++index) {
    naming.outer[graph.inputs[own + index].name] = around.Of(node.inputs[graph.captured[index]]);
  }
  onnx::AttributeProto* proto = node_proto->add_attribute();
  proto->set_name(attribute);
  proto->set_type(onnx::AttributeProto::GRAPH);
  onnx::GraphProto* body = proto->mutable_g();
  body->set_name(absl::StrCat(node.name, "_", attribute));
  for (size_t index = 0; index < own; ++index) body->add_input()->set_name(naming.Of(graph.inputs[index].name));
  PACTORY_RETURN_IF_ERROR(AddNodes(graph, naming, body));
  for (size_t index = 0; index < graph.outputs.size(); ++index) {
    std::string name = naming.Of(graph.outputs[index].name);
    // A graph may not give out what it did not write, nor one value twice.
    onnx::NodeProto* identity = body->add_node();
    identity->set_op_type("Identity");
    identity->add_input(name);
    name = absl::StrCat(naming.prefix, "output_", index);
    identity->add_output(name);
    body->add_output()->set_name(name);
  }
  return absl::OkStatus();
}

absl::Status AddNodes(const Graph& graph, const Naming& naming, onnx::GraphProto* proto) {
  for (const Node& node : graph.nodes) {
    onnx::NodeProto* node_proto = proto->add_node();
    node_proto->set_op_type(node.op_type);
    if (!node.domain.empty()) node_proto->set_domain(node.domain);
    size_t own = node.inputs.size();
    for (const Graph* subgraph : node.Subgraphs()) {
      for (const int64_t position : subgraph->captured) own = std::min(own, static_cast<size_t>(position));
    }
    for (size_t index = 0; index < own; ++index) node_proto->add_input(naming.Of(node.inputs[index]));
    for (const std::string& output : node.outputs) node_proto->add_output(naming.Of(output));
    for (const auto& [name, attribute] : node.attributes) {
      if (const auto* subgraph = std::get_if<std::shared_ptr<const Graph>>(&attribute)) {
        PACTORY_RETURN_IF_ERROR(AddSubgraph(**subgraph, node, name, naming, node_proto));
        continue;
      }
      auto converted = ToProto(name, attribute);
      if (!converted.ok()) {
        return Prefixed(converted.status(), absl::StrCat("node ", node.name, " (", node.op_type, "): "));
      }
      *node_proto->add_attribute() = *std::move(converted);
    }
  }
  return absl::OkStatus();
}

void CollectDomains(const Graph& graph, std::set<std::string>& domains) {
  for (const Node& node : graph.nodes) {
    domains.insert(node.domain);
    for (const Graph* subgraph : node.Subgraphs()) CollectDomains(*subgraph, domains);
  }
}

}  // namespace

absl::StatusOr<std::string> SerializeGraph(const Graph& graph) {
  onnx::ModelProto model;
  model.set_ir_version(graph.opset() >= kInt4Opset ? kInt4IrVersion : kExportIrVersion);
  model.set_producer_name("pactory");
  std::set<std::string> domains = {""};
  CollectDomains(graph, domains);
  for (const auto& [domain, version] : graph.opsets) {
    if (domains.count(domain) == 0) continue;
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
  PACTORY_RETURN_IF_ERROR(AddNodes(graph, {}, proto));
  std::string bytes;
  if (!model.SerializeToString(&bytes)) {
    return absl::UnimplementedError("models of 2 GiB and more can't be exported as one file");
  }
  return bytes;
}

}  // namespace pactory::quant
