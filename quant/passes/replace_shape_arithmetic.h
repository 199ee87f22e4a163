// A pass, run by pass_runner.
#pragma once

#include "absl/status/status.h"
#include "quant/graph/graph.h"

namespace pactory::quant {

/// Replaces the shapes that Reshape nodes compute at run time (Shape, Gather, Slice, Concat, ...) by constants with 0
/// and -1, where those say the same: [dim 0 of x, 200] becomes [-1, 200].
absl::Status ReplaceShapeArithmetic(Graph& graph);

}  // namespace pactory::quant
