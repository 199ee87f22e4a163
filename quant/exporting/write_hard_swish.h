// A rewrite before export. Stateless.
#pragma once

#include "quant/graph/graph.h"

namespace pactory::quant {

/// Writes each HardSwish as x * HardSigmoid(x; 1/6, 1/2), which ONNX Runtime runs faster than the op and which opset 13 has.
void WriteHardSwish(Graph& graph);

}  // namespace pactory::quant
