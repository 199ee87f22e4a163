// The intermediate representation that mirrors ONNX: nodes that read and write named values. Everything in quant/ works
// on it. Not thread-safe; a finished graph may be shared as const.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace pactory::quant {

class Graph;

/// An ONNX attribute. Graph-valued attributes are shared because they are never changed after import.
using Attribute = std::variant<int64_t, float, std::string, std::vector<int64_t>, std::vector<float>,
                               std::vector<std::string>, at::Tensor, std::shared_ptr<const Graph>>;

/// One operation. `inputs` holds "" where an optional input is left out.
struct Node {
  /// Unique in its graph; made from op and number where the file gives none.
  std::string name;
  std::string op_type;
  /// "" is the default ONNX domain; "pactory" marks nodes that passes inserted.
  std::string domain;
  std::vector<std::string> inputs;
  std::vector<std::string> outputs;
  std::map<std::string, Attribute> attributes;

  /// Returns the attribute, or `fallback` where the node has none of that name and type.
  int64_t IntOr(absl::string_view name, int64_t fallback) const;
  float FloatOr(absl::string_view name, float fallback) const;
  std::string StringOr(absl::string_view name, absl::string_view fallback) const;
  std::vector<int64_t> IntsOr(absl::string_view name, std::vector<int64_t> fallback) const;
  bool Has(absl::string_view name) const;
  /// The graphs among the attributes: the branches of If, the body of Loop.
  std::vector<const Graph*> Subgraphs() const;
};

/// A graph input or output.
struct ValueInfo {
  std::string name;
  at::ScalarType type = at::kFloat;
  /// -1 where the file leaves a dimension open.
  std::vector<int64_t> dims;
  /// False where the file gives no shape at all; `dims` is empty then.
  bool rank_known = true;
};

/// What FoldBatchNorm took into a node, by output channel: y = (conv(x, w) - mean) / sqrt(variance + epsilon) * gamma + beta with the
/// weight as it was before.
struct FoldedBatchNorm {
  at::Tensor gamma, beta, mean, variance;
  double epsilon = 0;
  /// The weight after folding: a pass that puts another in its place makes the record void.
  at::Tensor weight;
};

/// A graph in topological order.
class Graph {
 public:
  std::string name;
  /// Opset version by domain; "" is the default domain.
  std::map<std::string, int64_t> opsets;
  std::vector<ValueInfo> inputs;
  std::vector<ValueInfo> outputs;
  /// In a subgraph: which of its node's inputs its last inputs stand for, in order. Import makes them; a subgraph reads
  /// nothing else from outside and has no initializers.
  std::vector<int64_t> captured;
  /// Constants and weights by value name. Constant nodes are initializers after import.
  std::map<std::string, at::Tensor> initializers;
  /// In topological order.
  std::vector<Node> nodes;
  /// By node name, so that training can take them out again.
  std::map<std::string, FoldedBatchNorm> folded_batch_norms;

  /// Opset version of the default domain.
  int64_t opset() const;

  /// Returns the node that writes `value`, or null where it is an input or an initializer.
  const Node* Producer(absl::string_view value) const;
  Node* Producer(absl::string_view value);
  /// Returns the nodes that read `value`, once each.
  std::vector<Node*> Consumers(absl::string_view value);
  std::vector<const Node*> Consumers(absl::string_view value) const;
  /// Whether `value` is one of the graph's outputs.
  bool IsOutput(absl::string_view value) const;

  /// Makes every reader of `from` read `to`, graph outputs' names staying as they are.
  void ReplaceUses(absl::string_view from, absl::string_view to);
  /// Returns a value name that is not in use yet, starting with `stem`.
  std::string UniqueValueName(absl::string_view stem) const;
  /// Returns a node name that is not in use yet, starting with `stem`.
  std::string UniqueNodeName(absl::string_view stem) const;
  /// Removes nodes whose outputs nobody reads, and initializers without a reader.
  void RemoveDeadCode();
  /// Puts the nodes into topological order; INVALID_ARGUMENT names a node of a cycle.
  absl::Status Sort();
  /// Checks: unique node and value names, every input defined before its use, outputs defined. INTERNAL names the node.
  absl::Status Verify() const;
};

}  // namespace pactory::quant
