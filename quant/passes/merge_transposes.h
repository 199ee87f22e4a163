// A pass, run by pass_runner.
#pragma once

#include "absl/status/status.h"
#include "quant/graph/graph.h"

namespace pactory::quant {

/// Makes one Transpose (opset 1) of two in a row where both name their order. Exporters write them around layers of another layout.
absl::Status MergeTransposes(Graph& graph);

}  // namespace pactory::quant
