// What the passes ask about a value when they match a pattern. Used by quant/passes and the exporter. Stateless.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "quant/graph/graph.h"

namespace pactory::quant {

/// Returns the constant behind a value, or null.
const at::Tensor* ConstantOf(const Graph& graph, const std::string& value);

/// Returns the number behind a value that is a constant of one element.
std::optional<double> NumberOf(const Graph& graph, const std::string& value);

/// Returns the only node that reads `value`; null where there are none or more, or where it is a graph output.
Node* OnlyReader(Graph& graph, const std::string& value);

/// Returns the producer of `value` when it has the op and nobody but one node reads the value; null else.
Node* OnlyReadProducer(Graph& graph, const std::string& value, absl::string_view op_type);

/// Whether the node is of the default domain and this op.
bool Is(const Node& node, absl::string_view op_type);

/// Ends of a range, infinite where it has none.
struct ClipRange {
  double low;
  double high;
};

/// Returns the values that a Relu, or a Clip whose bounds are known, lets through; nullopt for other nodes.
std::optional<ClipRange> ClippedTo(const Graph& graph, const Node& node);

/// Adds a constant under a name of its own and returns the name.
std::string AddConstant(Graph& graph, absl::string_view stem, at::Tensor tensor);

/// Makes every reader of `node`'s first output read `value` instead, also where that output is one of the graph's: then
/// the output's name moves to the producer of `value`. Returns whether that was possible.
bool Bypass(Graph& graph, const Node& node, const std::string& value);

}  // namespace pactory::quant
