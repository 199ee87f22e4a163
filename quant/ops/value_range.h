// What is known about a value's range from the graph alone. Used where quantizers choose between the signed and the
// unsigned grid. Stateless.
#pragma once

#include "absl/strings/string_view.h"
#include "quant/graph/graph.h"

namespace pactory::quant {

/// Whether no element of `value` can be negative, whatever the model's inputs: follows the ops that keep non-negative
/// inputs so (OpDefinition::keeps_non_negative) back to one that makes them so (Relu, Sigmoid, Clip at 0, constants).
bool IsNonNegative(const Graph& graph, absl::string_view value);

}  // namespace pactory::quant
