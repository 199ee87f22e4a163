// What a file that is quantized already holds becomes trainable. Used by insert_quantizers. Stateless.
#pragma once

#include "quant/graph/graph.h"

namespace pactory::quant {

/// Replaces each QuantizeLinear and the DequantizeLinear behind it (ONNX opset 10; one scale and one integer zero point, both constants
/// and the same on both sides) by a Clip to what the pair can hold, which has a gradient, and which the model's own quantizer then
/// refines. A Clip, since a pair is more than rounding: exporters leave out a Relu or Clip in front of a pair that saturates
/// there. Where negative values pass, both ends are the wider one's, as a symmetric grid has them. A Relu or Clip in front that nothing
/// else reads becomes part of it. Values keep their names. Needs folded constants; weights behind a DequantizeLinear are folded.
void ReplaceStoredPairs(Graph& graph);

}  // namespace pactory::quant
