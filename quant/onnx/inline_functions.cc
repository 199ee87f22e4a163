#include "quant/onnx/inline_functions.h"

#include <onnx/onnx_pb.h>

#include <map>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace pactory::quant {
namespace {

constexpr int kDeepestCall = 32;
// Functions that call each other twice grow without bound.
constexpr int64_t kMostNodes = int64_t{1} << 18;
// Default values of attributes, a field that is newer than the protobuf this is built with.
constexpr int kDefaultsField = 11;

std::string DomainOfFunction(const std::string& domain) { return domain == "ai.onnx" ? "" : domain; }

struct Function {
  const onnx::FunctionProto* proto;
  std::map<std::string, onnx::AttributeProto> defaults;
};

// One call: what the body's names and attributes become.
class Call {
 public:
  Call(const Function& function, const onnx::NodeProto& node, std::string prefix)
      : function_(function), prefix_(std::move(prefix)) {
    for (int index = 0; index < function.proto->input_size(); ++index) {
      names_[function.proto->input(index)] = index < node.input_size() ? node.input(index) : "";
    }
    for (int index = 0; index < function.proto->output_size(); ++index) {
      const std::string given = index < node.output_size() ? node.output(index) : "";
      if (!given.empty()) names_[function.proto->output(index)] = given;
    }
    for (const onnx::AttributeProto& attribute : node.attribute()) attributes_[attribute.name()] = &attribute;
  }

  onnx::NodeProto Copy(const onnx::NodeProto& node) const {
    onnx::NodeProto copy = node;
    Rename(copy);
    if (!node.name().empty()) copy.set_name(absl::StrCat(prefix_, node.name()));
    return copy;
  }

 private:
  void Rename(std::string* name) const {
    if (name->empty()) return;
    const auto found = names_.find(*name);
    *name = found == names_.end() ? absl::StrCat(prefix_, *name) : found->second;
  }

  void Rename(onnx::NodeProto& node) const {
    for (std::string& input : *node.mutable_input()) Rename(&input);
    for (std::string& output : *node.mutable_output()) Rename(&output);
    google::protobuf::RepeatedPtrField<onnx::AttributeProto> kept;
    for (onnx::AttributeProto& attribute : *node.mutable_attribute()) {
      if (!attribute.ref_attr_name().empty() && !Resolve(attribute)) continue;
      if (attribute.has_g()) Rename(*attribute.mutable_g());
      for (onnx::GraphProto& graph : *attribute.mutable_graphs()) Rename(graph);
      *kept.Add() = std::move(attribute);
    }
    node.mutable_attribute()->Swap(&kept);
  }

  void Rename(onnx::GraphProto& graph) const {
    for (onnx::ValueInfoProto& value : *graph.mutable_input()) Rename(value.mutable_name());
    for (onnx::ValueInfoProto& value : *graph.mutable_output()) Rename(value.mutable_name());
    for (onnx::TensorProto& tensor : *graph.mutable_initializer()) Rename(tensor.mutable_name());
    for (onnx::NodeProto& node : *graph.mutable_node()) Rename(node);
  }

  // Gives an attribute the caller's value, or the default; false where there is neither.
  bool Resolve(onnx::AttributeProto& attribute) const {
    const std::string name = attribute.name();
    if (const auto given = attributes_.find(attribute.ref_attr_name()); given != attributes_.end()) {
      attribute = *given->second;
    } else if (const auto found = function_.defaults.find(attribute.ref_attr_name());
               found != function_.defaults.end()) {
      attribute = found->second;
    } else {
      return false;
    }
    attribute.set_name(name);
    return true;
  }

  const Function& function_;
  std::string prefix_;
  std::unordered_map<std::string, std::string> names_;
  std::unordered_map<std::string, const onnx::AttributeProto*> attributes_;
};

class Inliner {
 public:
  absl::Status ReadFunctions(const onnx::ModelProto& model) {
    std::map<std::string, int64_t> opsets;
    for (const auto& opset : model.opset_import()) opsets[DomainOfFunction(opset.domain())] = opset.version();
    for (const onnx::FunctionProto& proto : model.functions()) {
      Function function{.proto = &proto, .defaults = {}};
      for (const auto& opset : proto.opset_import()) {
        const auto own = opsets.find(DomainOfFunction(opset.domain()));
        if (own != opsets.end() && own->second != opset.version()) {
          return absl::UnimplementedError(absl::StrCat("function must be of the model's opset: function=", proto.name(),
                                                       " opset=", opset.version(), " model=", own->second));
        }
      }
      const google::protobuf::UnknownFieldSet& unknown = proto.unknown_fields();
      for (int index = 0; index < unknown.field_count(); ++index) {
        const auto& field = unknown.field(index);
        if (field.number() != kDefaultsField || field.type() != google::protobuf::UnknownField::TYPE_LENGTH_DELIMITED) {
          continue;
        }
        onnx::AttributeProto attribute;
        if (!attribute.ParseFromString(field.length_delimited())) {
          return absl::InvalidArgumentError(absl::StrCat("function's defaults can't be read: function=", proto.name()));
        }
        function.defaults[attribute.name()] = std::move(attribute);
      }
      if (!functions_.emplace(std::pair(DomainOfFunction(proto.domain()), proto.name()), std::move(function)).second) {
        return absl::InvalidArgumentError(absl::StrCat("function must be defined once: function=", proto.name()));
      }
    }
    return absl::OkStatus();
  }

  absl::Status Expand(onnx::GraphProto& graph, int depth) {
    google::protobuf::RepeatedPtrField<onnx::NodeProto> nodes;
    nodes.Swap(graph.mutable_node());
    for (onnx::NodeProto& node : nodes) PACTORY_RETURN_IF_ERROR(Append(std::move(node), depth, graph));
    return absl::OkStatus();
  }

 private:
  absl::Status Append(onnx::NodeProto node, int depth, onnx::GraphProto& graph) {
    if (depth > kDeepestCall) {
      return absl::InvalidArgumentError(
          absl::StrCat("functions and graphs must nest at most ", kDeepestCall, " deep: op=", node.op_type()));
    }
    const auto found = functions_.find({DomainOfFunction(node.domain()), node.op_type()});
    if (found == functions_.end()) {
      if (++nodes_ > kMostNodes) {
        return absl::InvalidArgumentError(absl::StrCat("functions must not grow to more than ", kMostNodes, " nodes"));
      }
      for (onnx::AttributeProto& attribute : *node.mutable_attribute()) {
        if (attribute.has_g()) PACTORY_RETURN_IF_ERROR(Expand(*attribute.mutable_g(), depth + 1));
      }
      *graph.add_node() = std::move(node);
      return absl::OkStatus();
    }
    const onnx::FunctionProto& function = *found->second.proto;
    if (node.input_size() > function.input_size() || node.output_size() > function.output_size()) {
      return absl::InvalidArgumentError(absl::StrCat("call must not have more inputs or outputs than the function: node=",
                                                     node.name(), " function=", function.name()));
    }
    const Call call(found->second, node, absl::StrCat(function.name(), "_", ++calls_, "/"));
    if (calls_ > kMostNodes) return absl::InvalidArgumentError("functions must not call each other without end");
    for (const onnx::NodeProto& inner : function.node()) {
      PACTORY_RETURN_IF_ERROR(Append(call.Copy(inner), depth + 1, graph));
    }
    return absl::OkStatus();
  }

  std::map<std::pair<std::string, std::string>, Function> functions_;
  int64_t nodes_ = 0;
  int64_t calls_ = 0;
};

}  // namespace

absl::Status InlineFunctions(onnx::ModelProto& model) {
  if (model.functions_size() == 0) return absl::OkStatus();
  Inliner inliner;
  PACTORY_RETURN_IF_ERROR(inliner.ReadFunctions(model));
  return inliner.Expand(*model.mutable_graph(), 0);
}

}  // namespace pactory::quant
