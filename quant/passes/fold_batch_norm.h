// A pass, run by pass_runner; unfold_batch_norm undoes it for training. Stateless.
#pragma once

#include <ATen/core/Tensor.h>

#include "absl/status/status.h"
#include "quant/graph/graph.h"

namespace pactory::quant {

/// Returns a weight of Conv, ConvTranspose or Gemm with each output channel multiplied by its value in `scale`; differentiable.
at::Tensor ScaleOutputChannels(const Node& node, const at::Tensor& weight, const at::Tensor& scale);

/// Folds what follows a convolution or Gemm and is affine by channel into its weight and bias: BatchNormalization, and
/// Mul, Div, Add, Sub with constants. Computed in double. Of a BatchNormalization it leaves a record in the graph.
absl::Status FoldBatchNorm(Graph& graph);

}  // namespace pactory::quant
