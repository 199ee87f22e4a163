#include "quant/exporting/upgrade_opset.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "quant/ops/value_rank.h"

namespace pactory::quant {
namespace {

using Rewrite = std::function<absl::Status(Graph&, Node&)>;

// Puts a tensor in place of an attribute, as the input of that index.
void AppendInput(Graph& graph, Node& node, size_t index, const at::Tensor& tensor, absl::string_view stem) {
  const std::string name = graph.UniqueValueName(absl::StrCat(node.name, "_", stem));
  graph.initializers[name] = tensor;
  if (node.inputs.size() <= index) node.inputs.resize(index + 1);
  node.inputs[index] = name;
}

// An INTS attribute becomes input `index`; absent stays absent.
Rewrite IntsToInput(std::string attribute, size_t index) {
  return [attribute, index](Graph& graph, Node& node) {
    if (!node.Has(attribute)) return absl::OkStatus();
    AppendInput(graph, node, index, at::tensor(node.IntsOr(attribute, {}), at::kLong), attribute);
    node.attributes.erase(attribute);
    return absl::OkStatus();
  };
}

// y = Reshape(node(Flatten(x, axis)), Shape(x)): holds for any rank. May move the graph's nodes.
void OverRows(Graph& graph, Node& node, int64_t axis) {
  Node flatten;
  flatten.op_type = "Flatten";
  flatten.name = graph.UniqueNodeName(absl::StrCat(node.name, "_rows"));
  flatten.inputs = {node.inputs[0]};
  flatten.outputs = {graph.UniqueValueName(flatten.name)};
  flatten.attributes["axis"] = axis;
  Node shape;
  shape.op_type = "Shape";
  shape.name = graph.UniqueNodeName(absl::StrCat(node.name, "_shape"));
  shape.inputs = {node.inputs[0]};
  shape.outputs = {graph.UniqueValueName(shape.name)};
  Node reshape;
  reshape.op_type = "Reshape";
  reshape.name = graph.UniqueNodeName(absl::StrCat(node.name, "_unflatten"));
  reshape.inputs = {graph.UniqueValueName(absl::StrCat(node.name, "_flat")), shape.outputs[0]};
  reshape.outputs = {node.outputs[0]};
  node.inputs[0] = flatten.outputs[0];
  node.outputs[0] = reshape.inputs[0];
  for (Node* added : {&flatten, &shape, &reshape}) graph.nodes.push_back(std::move(*added));
}

// Until opset 12 softmax ran over all axes from `axis` (default 1) on as one; since 13 over one (default -1).
absl::Status RewriteSoftmax(Graph& graph, Node& node) {
  const int64_t axis = node.IntOr("axis", 1);
  node.attributes["axis"] = int64_t{-1};
  if (axis == -1) return absl::OkStatus();
  // The same where the named axis is the last one.
  const std::optional<int64_t> rank = RankOf(graph, node.outputs[0]);
  if (!rank.has_value() || axis != *rank - 1) OverRows(graph, node, axis);
  return absl::OkStatus();
}

absl::Status RewriteClip(Graph& graph, Node& node) {
  if (node.Has("min")) AppendInput(graph, node, 1, at::full({}, node.FloatOr("min", 0)), "min");
  if (node.Has("max")) AppendInput(graph, node, 2, at::full({}, node.FloatOr("max", 0)), "max");
  node.attributes.erase("min");
  node.attributes.erase("max");
  return absl::OkStatus();
}

absl::Status RewritePad(Graph& graph, Node& node) {
  const float value = node.FloatOr("value", 0);
  PACTORY_RETURN_IF_ERROR(IntsToInput("pads", 1)(graph, node));
  node.attributes.erase("value");
  if (value != 0) AppendInput(graph, node, 2, at::full({}, value), "value");
  return absl::OkStatus();
}

absl::Status RewriteSlice(Graph& graph, Node& node) {
  PACTORY_RETURN_IF_ERROR(IntsToInput("starts", 1)(graph, node));
  PACTORY_RETURN_IF_ERROR(IntsToInput("ends", 2)(graph, node));
  return IntsToInput("axes", 3)(graph, node);
}

// Since opset 18 an even split names its number of parts.
absl::Status RewriteSplit(Graph&, Node& node) {
  const bool is_even = node.inputs.size() < 2 || node.inputs[1].empty();
  if (is_even) node.attributes["num_outputs"] = static_cast<int64_t>(node.outputs.size());
  return absl::OkStatus();
}

// An attribute that is without effect in what the op's kernel takes, and unknown since.
Rewrite Without(std::string attribute) {
  return [attribute](Graph&, Node& node) {
    node.attributes.erase(attribute);
    return absl::OkStatus();
  };
}

absl::Status RewriteTopK(Graph& graph, Node& node) {
  AppendInput(graph, node, 1, at::tensor({node.IntOr("k", 1)}, at::kLong), "k");
  node.attributes.erase("k");
  return absl::OkStatus();
}

absl::Status RewriteScatter(Graph&, Node& node) {
  node.op_type = "ScatterElements";
  return absl::OkStatus();
}

// Opset 16 gave the coordinates a choice, with another default.
absl::Status RewriteRoiAlign(Graph&, Node& node) {
  node.attributes["coordinate_transformation_mode"] = std::string("output_half_pixel");
  return absl::OkStatus();
}

// Opset 20 renamed the modes.
absl::Status RewriteGridSample(Graph&, Node& node) {
  const std::string mode = node.StringOr("mode", "bilinear");
  if (mode == "bilinear") node.attributes["mode"] = std::string("linear");
  if (mode == "bicubic") node.attributes["mode"] = std::string("cubic");
  return absl::OkStatus();
}

Rewrite Refuse(int64_t opset) {
  return [opset](Graph&, Node& node) {
    return absl::UnimplementedError(absl::StrCat("node has no equal form in opset ", opset, ": node=", node.name, " op=", node.op_type,
                                                 "; export the model at opset ", opset, " or later"));
  };
}

// A rewrite holds for graphs of an opset before `before`.
struct Change {
  int64_t before;
  Rewrite rewrite;

  bool Applies(int64_t from, int64_t target) const { return from < before && before <= target; }
};

const std::multimap<std::string, Change>& Changes() {
  static const auto* changes = new std::multimap<std::string, Change>{
      {"Softmax", {13, RewriteSoftmax}},
      {"LogSoftmax", {13, RewriteSoftmax}},
      {"Hardmax", {13, RewriteSoftmax}},
      {"TopK", {10, RewriteTopK}},
      {"Scatter", {11, RewriteScatter}},
      {"BatchNormalization", {9, Without("spatial")}},
      {"Dropout", {12, Without("ratio")}},
      {"Squeeze", {13, IntsToInput("axes", 1)}},
      {"Unsqueeze", {13, IntsToInput("axes", 1)}},
      {"ReduceSum", {13, IntsToInput("axes", 1)}},
      {"Split", {13, IntsToInput("split", 1)}},
      {"Clip", {11, RewriteClip}},
      {"Pad", {11, RewritePad}},
      {"Slice", {10, RewriteSlice}},
      {"Upsample", {13, Refuse(13)}},
      {"Resize", {11, Refuse(13)}},
      // Of opset 14 and later: for files that hold INT4.
      {"Split", {18, RewriteSplit}},
      {"RoiAlign", {16, RewriteRoiAlign}},
      {"GridSample", {20, RewriteGridSample}},
      {"GroupNormalization", {21, Refuse(21)}},
      {"ReduceL1", {18, IntsToInput("axes", 1)}},
      {"ReduceL2", {18, IntsToInput("axes", 1)}},
      {"ReduceLogSum", {18, IntsToInput("axes", 1)}},
      {"ReduceLogSumExp", {18, IntsToInput("axes", 1)}},
      {"ReduceMax", {18, IntsToInput("axes", 1)}},
      {"ReduceMean", {18, IntsToInput("axes", 1)}},
      {"ReduceMin", {18, IntsToInput("axes", 1)}},
      {"ReduceProd", {18, IntsToInput("axes", 1)}},
      {"ReduceSumSquare", {18, IntsToInput("axes", 1)}},
  };
  return *changes;
}

// Subgraphs are never changed after import, so what stands in them must be of one form in both opsets.
absl::Status CheckSubgraphs(const Node& node, int64_t from, int64_t target) {
  for (const Graph* subgraph : node.Subgraphs()) {
    for (const Node& inner : subgraph->nodes) {
      const auto [first, last] = Changes().equal_range(inner.op_type);
      const bool changes =
          inner.domain.empty() && std::any_of(first, last, [&](const auto& item) { return item.second.Applies(from, target); });
      if (changes) {
        return absl::UnimplementedError(absl::StrCat("node inside of ", node.name, " (", node.op_type,
                                                     ") has another form in opset ", target,
                                                     ": node=", inner.name, " op=", inner.op_type,
                                                     "; export the model at opset ", target, " or later"));
      }
      PACTORY_RETURN_IF_ERROR(CheckSubgraphs(inner, from, target));
    }
  }
  return absl::OkStatus();
}

}  // namespace

std::map<std::string, std::set<int64_t>> RewrittenOps() {
  std::map<std::string, std::set<int64_t>> ops;
  for (const auto& [op, change] : Changes()) ops[op].insert(change.before);
  return ops;
}

absl::Status UpgradeOpset(Graph& graph, int64_t target) {
  const int64_t from = graph.opset();
  if (from >= target) return absl::OkStatus();
  // By index, since a rewrite may add nodes; those are of the new opset.
  const size_t nodes = graph.nodes.size();
  for (size_t index = 0; index < nodes; ++index) {
    PACTORY_RETURN_IF_ERROR(CheckSubgraphs(graph.nodes[index], from, target));
    if (!graph.nodes[index].domain.empty()) continue;
    const auto [first, last] = Changes().equal_range(graph.nodes[index].op_type);
    for (auto change = first; change != last; ++change) {
      if (change->second.Applies(from, target)) PACTORY_RETURN_IF_ERROR(change->second.rewrite(graph, graph.nodes[index]));
    }
  }
  graph.opsets[""] = target;
  return graph.Sort();
}

}  // namespace pactory::quant
