// Evens out the ranges of neighbouring layers' channels, so that few bits suit all of them: cross-layer equalization (Nagel et
// al. 2019, section 4.1). Stateless.
#pragma once

#include "absl/status/status.h"
#include "quant/graph/graph.h"

namespace pactory::quant {

/// Scales each channel between two layers by s = sqrt(r1 / r2), r1 being max|w| of what writes it and r2 of what reads it: weights
/// and bias of the first layer are divided by s, weights of the second multiplied. The graph's outputs stay as they are.
///
/// The layers are Conv, ConvTranspose, Gemm and MatMul with stored weights; between them stand only ops that keep a positive factor
/// of a channel (Relu, LeakyRelu, PRelu, pooling), each with one reader. Clip is not among them: its bounds would move. A channel
/// whose weights on one side are all 0, or vanish beside its bias, stays as it is.
absl::Status EqualizeLayers(Graph& graph);

}  // namespace pactory::quant
