// A pass: com.microsoft's fused layers become the ONNX ops they stand for. Stateless.
#pragma once

#include "absl/status/status.h"
#include "quant/graph/graph.h"

namespace pactory::quant {

/// Splits FusedConv, FusedGemm, and FusedMatMul with a constant second input into layer, sum and activation, so that the
/// layers are quantized like any other. What can't be told apart stays as it is.
absl::Status SplitFusedOps(Graph& graph);

}  // namespace pactory::quant
