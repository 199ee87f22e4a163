#include "server/onnx_walk.h"

#include <onnx/onnx_pb.h>

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/protobuf_wire.h"

namespace pactory {
namespace {

constexpr int kMaxDepth = 32;
constexpr int kMaxName = 1 << 16;
constexpr int kMaxTensorInfo = 1 << 20;
constexpr int kMaxDims = 64;
constexpr size_t kMaxNodesListed = 20;
constexpr size_t kMaxDistinctOps = 2000;
constexpr int kMaxInputs = 1000;
constexpr int64_t kMaxTensorElements = int64_t{1} << 40;
// Names of initializers are kept to tell them from inputs.
constexpr size_t kMaxKeptBytes = 64 << 20;

absl::Status Bad(absl::string_view problem) { return absl::InvalidArgumentError(problem); }

class OnnxWalk {
 public:
  OnnxWalk(google::protobuf::io::CodedInputStream& input, v1::Model& model) : wire_(input), model_(model) {}

  absl::Status Model() {
    PACTORY_RETURN_IF_ERROR(wire_.Fields([this](const WireField& field) {
      if (field.Is(7, WireType::kBytes)) return wire_.Message([this] { return Graph(0); });
      if (field.Is(8, WireType::kBytes)) return wire_.Message([this] { return OpsetImport(); });
      if (field.Is(25, WireType::kBytes)) return wire_.Message([this] { return Function(); });
      return wire_.Skip(field);
    }));
    return Finish();
  }

 private:
  absl::Status OpsetImport() {
    std::string domain;
    uint64_t version = 0;
    PACTORY_RETURN_IF_ERROR(wire_.Fields([&](const WireField& field) {
      if (field.Is(1, WireType::kBytes)) return wire_.Text(kMaxName, domain);
      if (field.Is(2, WireType::kVarint)) return wire_.Varint(version);
      return wire_.Skip(field);
    }));
    if (domain.empty() || domain == "ai.onnx") model_.set_opset(static_cast<int64_t>(version));
    return absl::OkStatus();
  }

  absl::Status Graph(int depth) {
    if (depth > kMaxDepth) return Bad(absl::StrCat("must not nest subgraphs deeper than ", kMaxDepth));
    if (depth == 0) has_graph_ = true;
    return wire_.Fields([this, depth](const WireField& field) {
      if (field.Is(1, WireType::kBytes)) return wire_.Message([this, depth] { return Node(depth); });
      if (field.Is(5, WireType::kBytes))
        return wire_.Message([this, depth] { return Tensor(depth == 0 ? Keep::kName : Keep::kNothing); });
      if (field.Is(15, WireType::kBytes)) return wire_.Message([this] { return SparseTensor(); });
      if (depth == 0 && field.Is(11, WireType::kBytes)) return ValueInfo("inputs", inputs_);
      if (depth == 0 && field.Is(12, WireType::kBytes)) return ValueInfo("outputs", outputs_);
      return wire_.Skip(field);
    });
  }

  // A function of the model's own: its nodes count as ops, calls of it do not.
  absl::Status Function() {
    std::string name;
    std::string domain;
    PACTORY_RETURN_IF_ERROR(wire_.Fields([&](const WireField& field) {
      if (field.Is(1, WireType::kBytes)) return wire_.Text(kMaxName, name);
      if (field.Is(10, WireType::kBytes)) return wire_.Text(kMaxName, domain);
      if (field.Is(7, WireType::kBytes)) return wire_.Message([this] { return Node(1); });
      return wire_.Skip(field);
    }));
    if (functions_.size() >= kMaxDistinctOps) return Bad(absl::StrCat("must not have more than ", kMaxDistinctOps, " functions"));
    functions_.insert(OpName(domain, name));
    return absl::OkStatus();
  }

  static std::string OpName(const std::string& domain, const std::string& name) {
    return domain.empty() || domain == "ai.onnx" ? name : absl::StrCat(domain, ".", name);
  }

  absl::Status Node(int depth) {
    std::string name;
    std::string first_output;
    std::string op_type;
    std::string domain;
    PACTORY_RETURN_IF_ERROR(wire_.Fields([&](const WireField& field) {
      if (field.Is(3, WireType::kBytes)) return wire_.Text(kMaxName, name);
      if (field.Is(2, WireType::kBytes) && first_output.empty()) return wire_.Text(kMaxName, first_output);
      if (field.Is(4, WireType::kBytes)) return wire_.Text(kMaxName, op_type);
      if (field.Is(7, WireType::kBytes)) return wire_.Text(kMaxName, domain);
      if (field.Is(5, WireType::kBytes)) return wire_.Message([this, depth] { return Attribute(depth); });
      return wire_.Skip(field);
    }));
    if (op_type.empty()) return Bad(absl::StrCat("must name the op of each node: node=", name));
    const std::string op = OpName(domain, op_type);
    if (ops_.size() >= kMaxDistinctOps && ops_.count(op) == 0)
      return Bad(absl::StrCat("must not have more than ", kMaxDistinctOps, " ops"));
    v1::OpCount& count = ops_[op];
    count.set_op(op);
    count.set_count(count.count() + 1);
    if (count.nodes_size() < static_cast<int>(kMaxNodesListed)) {
      count.add_nodes(name.empty() ? absl::StrCat("output ", first_output).substr(0, 200) : name.substr(0, 200));
    }
    return absl::OkStatus();
  }

  absl::Status Attribute(int depth) {
    return wire_.Fields([this, depth](const WireField& field) {
      if (field.Is(5, WireType::kBytes) || field.Is(10, WireType::kBytes))
        return wire_.Message([this] { return Tensor(Keep::kNothing); });
      if (field.Is(6, WireType::kBytes) || field.Is(11, WireType::kBytes))
        return wire_.Message([this, depth] { return Graph(depth + 1); });
      if (field.Is(22, WireType::kBytes) || field.Is(23, WireType::kBytes))
        return wire_.Message([this] { return SparseTensor(); });
      return wire_.Skip(field);
    });
  }

  enum class Keep { kNothing, kName };

  absl::Status Tensor(Keep keep) {
    std::string name;
    std::vector<uint64_t> dims;
    bool external = false;
    PACTORY_RETURN_IF_ERROR(wire_.Fields([&](const WireField& field) -> absl::Status {
      if (field.Is(1, WireType::kVarint) || field.Is(1, WireType::kBytes)) return wire_.Varints(field, kMaxDims, dims);
      if (field.Is(8, WireType::kBytes)) return wire_.Text(kMaxName, name);
      if (field.Is(14, WireType::kVarint)) {
        uint64_t location = 0;
        PACTORY_RETURN_IF_ERROR(wire_.Varint(location));
        external = external || location != 0;
        return absl::OkStatus();
      }
      if (field.Is(13, WireType::kBytes)) external = true;
      return wire_.Skip(field);
    }));
    if (external) {
      return Bad(absl::StrCat(
          "must hold its weights itself, not as external data; save it with save_as_external_data=False: tensor=",
          name));
    }
    PACTORY_RETURN_IF_ERROR(CountElements(name, dims));
    if (keep == Keep::kNothing) return absl::OkStatus();
    kept_bytes_ += name.size();
    if (kept_bytes_ > kMaxKeptBytes) return Bad("must have shorter names: those of its weights fill more than 64 MiB");
    initializers_.insert(std::move(name));
    return absl::OkStatus();
  }

  absl::Status CountElements(const std::string& name, const std::vector<uint64_t>& dims) {
    int64_t elements = 1;
    for (const uint64_t dim : dims) {
      if (dim > static_cast<uint64_t>(kMaxTensorElements) ||
          (dim > 0 && elements > kMaxTensorElements / static_cast<int64_t>(dim))) {
        return Bad(absl::StrCat("must have weights of a size that can be: tensor=", name));
      }
      elements *= static_cast<int64_t>(dim);
    }
    elements_ += elements;
    if (elements_ > kMaxTensorElements) return Bad("must have fewer parameters than 2^40");
    return absl::OkStatus();
  }

  absl::Status SparseTensor() {
    return wire_.Fields([this](const WireField& field) {
      if (field.Is(1, WireType::kBytes)) return wire_.Message([this] { return Tensor(Keep::kName); });
      if (field.Is(2, WireType::kBytes)) return wire_.Message([this] { return IndicesOfSparseTensor(); });
      return wire_.Skip(field);
    });
  }

  // They are no parameters.
  absl::Status IndicesOfSparseTensor() {
    const int64_t counted = elements_;
    PACTORY_RETURN_IF_ERROR(Tensor(Keep::kNothing));
    elements_ = counted;
    return absl::OkStatus();
  }

  absl::Status ValueInfo(absl::string_view what, std::vector<v1::TensorInfo>& infos) {
    std::string bytes;
    PACTORY_RETURN_IF_ERROR(wire_.Bytes(kMaxTensorInfo, bytes));
    onnx::ValueInfoProto value;
    if (!value.ParseFromString(bytes)) return Bad(absl::StrCat("must describe its ", what, ", and one can't be read"));
    if (infos.size() >= kMaxInputs) return Bad(absl::StrCat("must not have more than ", kMaxInputs, " ", what));
    v1::TensorInfo info;
    PACTORY_RETURN_IF_ERROR(CheckWireText(value.name()));
    info.set_name(value.name());
    if (!value.type().has_tensor_type()) return Bad(absl::StrCat("must have tensors as ", what, ": ", value.name()));
    const auto& tensor = value.type().tensor_type();
    const std::string type =
        onnx::TensorProto_DataType_Name(static_cast<onnx::TensorProto_DataType>(tensor.elem_type()));
    info.set_element_type(absl::AsciiStrToLower(type));
    if (tensor.shape().dim_size() > kMaxDims)
      return Bad(absl::StrCat("must have ", what, " of at most ", kMaxDims, " dimensions: ", value.name()));
    for (const auto& dim : tensor.shape().dim()) {
      // Exporters write 0 or -1 as well as a name for a size that is open.
      info.add_dims(dim.has_dim_value() && dim.dim_value() > 0 ? dim.dim_value() : -1);
    }
    infos.push_back(std::move(info));
    return absl::OkStatus();
  }

  absl::Status Finish() {
    if (!has_graph_) return Bad("must be an ONNX model, and holds no graph");
    if (model_.opset() == 0) return Bad("must name the opset version it was made for");
    if (ops_.empty()) return Bad("must have nodes");
    for (v1::TensorInfo& info : inputs_) {
      if (initializers_.count(info.name()) == 0) *model_.add_inputs() = std::move(info);
    }
    for (v1::TensorInfo& info : outputs_) *model_.add_outputs() = std::move(info);
    if (model_.inputs_size() == 0) return Bad("must have an input");
    if (model_.outputs_size() == 0) return Bad("must have an output");
    for (auto& [name, op] : ops_) {
      if (functions_.count(name) == 0) *model_.add_ops() = std::move(op);
    }
    model_.set_parameter_count(elements_);
    return absl::OkStatus();
  }

  ProtobufWire wire_;
  v1::Model& model_;
  bool has_graph_ = false;
  int64_t elements_ = 0;
  size_t kept_bytes_ = 0;
  std::set<std::string> initializers_;
  std::set<std::string> functions_;
  std::vector<v1::TensorInfo> inputs_;
  std::vector<v1::TensorInfo> outputs_;
  std::map<std::string, v1::OpCount> ops_;
};

}  // namespace

absl::Status WalkOnnxModel(google::protobuf::io::CodedInputStream& input, int size_bytes, v1::Model& model) {
  // With a limit from the start on, every length in the file can be compared with what is left.
  const auto limit = input.PushLimit(size_bytes);
  const absl::Status status = OnnxWalk(input, model).Model();
  input.PopLimit(limit);
  return status;
}

}  // namespace pactory
