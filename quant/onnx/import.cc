#include "quant/onnx/import.h"

#include <ATen/ATen.h>
#include <google/protobuf/io/coded_stream.h>
#include <onnx/onnx_pb.h>

#include <fstream>
#include <limits>
#include <set>
#include <sstream>
#include <unordered_set>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "base/utf8.h"
#include "quant/guard.h"
#include "quant/onnx/close_subgraphs.h"
#include "quant/onnx/inline_functions.h"
#include "quant/onnx/tensor.h"

namespace pactory::quant {
namespace {

std::string DomainOf(const std::string& domain) { return domain == "ai.onnx" ? "" : domain; }

// Names end up in messages that travel as protobuf strings, which must be UTF-8 and of sane length.
constexpr size_t kLongestName = 4096;

absl::Status CheckName(absl::string_view kind, absl::string_view name) {
  if (name.size() <= kLongestName && IsUtf8(name)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(kind, " must be UTF-8 of at most ", kLongestName, " bytes: ",
                                                 absl::CHexEscape(name.substr(0, 60))));
}

absl::Status CheckNames(const onnx::GraphProto& proto) {
  for (const onnx::TensorProto& tensor : proto.initializer()) {
    PACTORY_RETURN_IF_ERROR(CheckName("name of an initializer", tensor.name()));
  }
  for (const auto* values : {&proto.input(), &proto.output()}) {
    for (const onnx::ValueInfoProto& value : *values) {
      PACTORY_RETURN_IF_ERROR(CheckName("name of a graph input or output", value.name()));
    }
  }
  for (const onnx::NodeProto& node : proto.node()) {
    PACTORY_RETURN_IF_ERROR(CheckName("op", node.op_type()));
    PACTORY_RETURN_IF_ERROR(CheckName("domain of a node", node.domain()));
    PACTORY_RETURN_IF_ERROR(CheckName("name of a node", node.name()));
    for (const std::string& input : node.input()) PACTORY_RETURN_IF_ERROR(CheckName("input of a node", input));
    for (const std::string& output : node.output()) PACTORY_RETURN_IF_ERROR(CheckName("output of a node", output));
    for (const onnx::AttributeProto& attribute : node.attribute()) {
      PACTORY_RETURN_IF_ERROR(CheckName("name of an attribute", attribute.name()));
      // Messages quote the texts of ops that are known; other domains may store anything.
      if (DomainOf(node.domain()).empty()) {
        PACTORY_RETURN_IF_ERROR(CheckName("text of an attribute", attribute.s()));
      }
      PACTORY_RETURN_IF_ERROR(CheckName("tensor of an attribute", attribute.t().name()));
    }
  }
  return absl::OkStatus();
}

// Each level of an If or a Loop is one; bounds the recursion of everything that walks graphs.
constexpr int kDeepestGraph = 32;
// How deep protobuf messages may nest: beyond kDeepestGraph (three messages each), so that such a file is refused by
// name, and not so deep that reading it could overflow the stack.
constexpr int kDeepestMessage = 2000;

absl::StatusOr<Graph> ImportGraph(const onnx::GraphProto& proto, const std::map<std::string, int64_t>& opsets,
                                  const NameScope* outer);

absl::StatusOr<Attribute> ImportAttribute(const onnx::AttributeProto& proto,
                                          const std::map<std::string, int64_t>& opsets,
                                          const NameScope& scope) {
  switch (proto.type()) {
    case onnx::AttributeProto::FLOAT: return Attribute(proto.f());
    case onnx::AttributeProto::INT: return Attribute(static_cast<int64_t>(proto.i()));
    case onnx::AttributeProto::STRING: return Attribute(proto.s());
    case onnx::AttributeProto::FLOATS:
      return Attribute(std::vector<float>(proto.floats().begin(), proto.floats().end()));
    case onnx::AttributeProto::INTS: return Attribute(std::vector<int64_t>(proto.ints().begin(), proto.ints().end()));
    case onnx::AttributeProto::STRINGS:
      return Attribute(std::vector<std::string>(proto.strings().begin(), proto.strings().end()));
    case onnx::AttributeProto::TENSOR: {
      PACTORY_ASSIGN_OR_RETURN(at::Tensor tensor, TensorFromProto(proto.t()));
      return Attribute(std::move(tensor));
    }
    case onnx::AttributeProto::GRAPH: {
      PACTORY_ASSIGN_OR_RETURN(Graph graph, ImportGraph(proto.g(), opsets, &scope));
      return Attribute(std::make_shared<const Graph>(std::move(graph)));
    }
    default:
      return absl::UnimplementedError(
          absl::StrCat("type of attribute is not supported: type=", static_cast<int>(proto.type())));
  }
}

absl::StatusOr<ValueInfo> ImportValueInfo(const onnx::ValueInfoProto& proto, absl::string_view kind) {
  ValueInfo info;
  info.name = proto.name();
  info.rank_known = false;
  // Exporters that do not know the type of a branch's output write an empty one.
  if (!proto.has_type() || proto.type().value_case() == onnx::TypeProto::VALUE_NOT_SET) return info;
  if (!proto.type().has_tensor_type()) {
    return absl::UnimplementedError(absl::StrCat(
        "graph ", kind, " must be a tensor: name=", proto.name(),
        proto.type().has_sequence_type() ? "; sklearn-onnx gives one with options={'zipmap': False}" : ""));
  }
  const onnx::TypeProto::Tensor& type = proto.type().tensor_type();
  absl::StatusOr<at::ScalarType> scalar = ScalarTypeOf(type.elem_type());
  // An output's type only informs, and some exporters leave it out.
  if (!scalar.ok() && kind == "input") {
    return Prefixed(scalar.status(), absl::StrCat("graph input ", proto.name(), ": "));
  }
  info.type = scalar.ok() ? *scalar : at::kFloat;
  if (!type.has_shape()) return info;
  info.rank_known = true;
  for (const auto& dim : type.shape().dim()) {
    info.dims.push_back(dim.has_dim_value() && dim.dim_value() > 0 ? dim.dim_value() : -1);
  }
  return info;
}

// The tensor of a Constant node; an undefined one where it holds what no tensor can (strings).
absl::StatusOr<at::Tensor> ConstantValue(const Node& node) {
  for (const auto& [name, attribute] : node.attributes) {
    if (const auto* tensor = std::get_if<at::Tensor>(&attribute)) return *tensor;
    if (const auto* value = std::get_if<float>(&attribute)) return at::scalar_tensor(*value, at::kFloat);
    if (const auto* value = std::get_if<int64_t>(&attribute)) return at::scalar_tensor(*value, at::kLong);
    if (const auto* values = std::get_if<std::vector<float>>(&attribute)) return at::tensor(*values, at::kFloat);
    if (const auto* values = std::get_if<std::vector<int64_t>>(&attribute)) return at::tensor(*values, at::kLong);
  }
  return absl::UnimplementedError("Constant must hold a dense tensor, numbers or a number");
}

absl::StatusOr<Node> ImportNode(const onnx::NodeProto& proto, const std::map<std::string, int64_t>& opsets,
                                const NameScope& scope) {
  Node node;
  node.name = proto.name();
  node.op_type = proto.op_type();
  node.domain = DomainOf(proto.domain());
  node.inputs.assign(proto.input().begin(), proto.input().end());
  node.outputs.assign(proto.output().begin(), proto.output().end());
  for (const onnx::AttributeProto& attribute : proto.attribute()) {
    absl::StatusOr<Attribute> value = ImportAttribute(attribute, opsets, scope);
    if (!value.ok()) return Prefixed(value.status(), absl::StrCat("attribute ", attribute.name(), ": "));
    if (!node.attributes.emplace(attribute.name(), *std::move(value)).second) {
      return absl::InvalidArgumentError(absl::StrCat("attribute must be given once: attribute=", attribute.name()));
    }
  }
  return node;
}

std::string Label(const onnx::NodeProto& node, int number) {
  return absl::StrCat("node ", node.name().empty() ? absl::StrCat("#", number) : node.name(), " (", node.op_type(),
                      ")");
}

// Gives nodes without a name, or with one that is taken, a name of their own.
void NameNodes(Graph& graph) {
  std::set<std::string> used;
  for (const Node& node : graph.nodes) used.insert(node.name);
  std::set<std::string> seen;
  int64_t number = 0;
  for (Node& node : graph.nodes) {
    if (node.name.empty() || !seen.insert(node.name).second) {
      const std::string stem = node.name.empty() ? node.op_type : node.name;
      do {
        node.name = absl::StrCat(stem, "_", number++);
      } while (!used.insert(node.name).second);
      seen.insert(node.name);
    }
  }
}

absl::Status ImportInitializers(const onnx::GraphProto& proto, Graph& graph) {
  if (proto.sparse_initializer_size() > 0) {
    return absl::UnimplementedError(absl::StrCat("sparse initializers are not supported: tensor=",
                                                 proto.sparse_initializer(0).values().name()));
  }
  for (const onnx::TensorProto& tensor : proto.initializer()) {
    if (tensor.name().empty()) return absl::InvalidArgumentError("initializer must have a name");
    PACTORY_ASSIGN_OR_RETURN(at::Tensor value, TensorFromProto(tensor));
    if (!graph.initializers.emplace(tensor.name(), std::move(value)).second) {
      return absl::InvalidArgumentError(absl::StrCat("initializer must be given once: tensor=", tensor.name()));
    }
  }
  return absl::OkStatus();
}

// Collects every name that the graph defines; a name must be defined once.
absl::Status CollectNames(const onnx::GraphProto& proto, const Graph& graph, std::unordered_set<std::string>& own) {
  for (const auto& [name, tensor] : graph.initializers) own.insert(name);
  for (const ValueInfo& input : graph.inputs) {
    if (input.name.empty() || !own.insert(input.name).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("graph inputs must have names of their own: input=", input.name));
    }
  }
  for (int index = 0; index < proto.node_size(); ++index) {
    for (const std::string& output : proto.node(index).output()) {
      if (!output.empty() && !own.insert(output).second) {
        return absl::InvalidArgumentError(absl::StrCat("value must be defined once: ", Label(proto.node(index), index),
                                                       " value=", output));
      }
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Graph> ImportGraph(const onnx::GraphProto& proto, const std::map<std::string, int64_t>& opsets,
                                  const NameScope* outer) {
  NameScope scope{.outer = outer, .depth = outer == nullptr ? 0 : outer->depth + 1, .own = {}};
  if (scope.depth > kDeepestGraph) {
    return absl::InvalidArgumentError(absl::StrCat("graphs must nest at most ", kDeepestGraph, " deep"));
  }
  Graph graph;
  graph.name = proto.name();
  graph.opsets = opsets;
  PACTORY_RETURN_IF_ERROR(CheckNames(proto));
  PACTORY_RETURN_IF_ERROR(ImportInitializers(proto, graph));
  for (const onnx::ValueInfoProto& input : proto.input()) {
    if (graph.initializers.count(input.name()) > 0) continue;
    PACTORY_ASSIGN_OR_RETURN(ValueInfo info, ImportValueInfo(input, "input"));
    graph.inputs.push_back(std::move(info));
  }
  for (const onnx::ValueInfoProto& output : proto.output()) {
    PACTORY_ASSIGN_OR_RETURN(ValueInfo info, ImportValueInfo(output, "output"));
    graph.outputs.push_back(std::move(info));
  }
  PACTORY_RETURN_IF_ERROR(CollectNames(proto, graph, scope.own));
  for (int index = 0; index < proto.node_size(); ++index) {
    const std::string where = absl::StrCat(Label(proto.node(index), index), ": ");
    if (proto.node(index).op_type().empty()) return absl::InvalidArgumentError(absl::StrCat(where, "op must be named"));
    absl::StatusOr<Node> node = ImportNode(proto.node(index), opsets, scope);
    if (!node.ok()) return Prefixed(node.status(), where);
    for (const std::string& input : node->inputs) {
      if (!input.empty() && !scope.Has(input)) {
        return absl::InvalidArgumentError(absl::StrCat(where, "input must be defined: input=", input));
      }
    }
    if (node->op_type == "Constant" && node->domain.empty()) {
      absl::StatusOr<at::Tensor> value = ConstantValue(*node);
      if (!value.ok()) return Prefixed(value.status(), where);
      if (node->outputs.size() != 1) return absl::InvalidArgumentError(absl::StrCat(where, "must have one output"));
      graph.initializers[node->outputs[0]] = *std::move(value);
      continue;
    }
    CloseSubgraphs(*node, graph.initializers, scope);
    graph.nodes.push_back(*std::move(node));
  }
  for (const ValueInfo& output : graph.outputs) {
    if (output.name.empty() || !scope.Has(output.name)) {
      return absl::InvalidArgumentError(absl::StrCat("graph output must be written by a node: output=", output.name));
    }
  }
  NameNodes(graph);
  PACTORY_RETURN_IF_ERROR(graph.Sort());
  return graph;
}

absl::StatusOr<Graph> ImportModel(absl::string_view bytes) {
  if (bytes.empty()) return absl::InvalidArgumentError("model file must not be empty");
  if (bytes.size() > std::numeric_limits<int>::max()) {
    return absl::InvalidArgumentError(absl::StrCat("model must be smaller than 2 GiB: bytes=", bytes.size()));
  }
  onnx::ModelProto model;
  google::protobuf::io::CodedInputStream stream(reinterpret_cast<const uint8_t*>(bytes.data()),
                                                static_cast<int>(bytes.size()));
  stream.SetRecursionLimit(kDeepestMessage);
  if (!model.ParseFromCodedStream(&stream) || !stream.ConsumedEntireMessage()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "model must be an ONNX file: its protobuf is damaged, cut short or nested without end: bytes=", bytes.size()));
  }
  if (!model.has_graph()) return absl::InvalidArgumentError("model must hold a graph; is this an ONNX file?");
  std::map<std::string, int64_t> opsets;
  for (const onnx::OperatorSetIdProto& opset : model.opset_import()) {
    opsets[DomainOf(opset.domain())] = opset.version();
  }
  const int64_t opset = opsets.count("") > 0 ? opsets[""] : 1;
  if (opset < kOldestOpset || opset > kNewestOpset) {
    return absl::UnimplementedError(absl::StrCat("opset must be from ", kOldestOpset, " to ", kNewestOpset,
                                                 ": opset=", opset, "; export or convert the model with another one"));
  }
  PACTORY_RETURN_IF_ERROR(InlineFunctions(model));
  PACTORY_ASSIGN_OR_RETURN(Graph graph, ImportGraph(model.graph(), opsets, nullptr));
  if (graph.outputs.empty()) return absl::InvalidArgumentError("model's graph must have an output");
  if (absl::Status status = graph.Verify(); !status.ok()) return absl::InvalidArgumentError(status.message());
  return graph;
}

}  // namespace

absl::StatusOr<Graph> ImportOnnx(absl::string_view bytes) {
  absl::StatusOr<Graph> graph = absl::InternalError("not run");
  const absl::Status guarded = GuardTorch("import", [&] {
    graph = ImportModel(bytes);
    return absl::OkStatus();
  });
  if (!guarded.ok()) return guarded;
  return graph;
}

absl::StatusOr<Graph> ImportOnnxFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat(path, ": file can't be opened"));
  std::ostringstream content;
  content << file.rdbuf();
  absl::StatusOr<Graph> graph = ImportOnnx(std::move(content).str());
  if (!graph.ok()) return Prefixed(graph.status(), absl::StrCat(path, ": "));
  return graph;
}

}  // namespace pactory::quant
