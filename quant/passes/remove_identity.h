// A pass, run by pass_runner.
#pragma once

#include "absl/status/status.h"
#include "quant/graph/graph.h"

namespace pactory::quant {

/// Removes nodes that give their input out as it is: Identity, Dropout in inference, Cast to the type a value has
/// already, Transpose that keeps the order, Concat of one.
absl::Status RemoveIdentity(Graph& graph);

}  // namespace pactory::quant
