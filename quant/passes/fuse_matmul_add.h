// A pass, run by pass_runner.
#pragma once

#include "absl/status/status.h"
#include "quant/graph/graph.h"

namespace pactory::quant {

/// Makes MatMul by a constant matrix, followed by Add of a constant bias, one Gemm, where the input is known to be a
/// matrix.
absl::Status FuseMatmulAdd(Graph& graph);

}  // namespace pactory::quant
