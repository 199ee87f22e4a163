// A pass, run by pass_runner.
#pragma once

#include "absl/status/status.h"
#include "quant/graph/graph.h"

namespace pactory::quant {

/// Replaces x * clip(x + 3, 0, 6) / 6 in its orders, and x * HardSigmoid(x; 1/6, 1/2), by one HardSwish node. As one op
/// its output gets one quantizer instead of four, and its gradient one pass over memory.
absl::Status ReplaceDecomposedHardSwish(Graph& graph);

}  // namespace pactory::quant
