// A pass, run by pass_runner.
#pragma once

#include "absl/status/status.h"
#include "quant/graph/graph.h"

namespace pactory::quant {

/// Folds what follows a convolution or Gemm and is affine by channel into its weight and bias: BatchNormalization, and
/// Mul, Div, Add, Sub with constants. Computed in double.
absl::Status FoldBatchNorm(Graph& graph);

}  // namespace pactory::quant
