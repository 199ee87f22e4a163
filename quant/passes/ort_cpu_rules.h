// What ONNX Runtime's CPU provider computes in int8 and what it fuses: the facts that decide where Q/DQ pairs stand in a file
// of profile `ort_cpu` (docs/export_ort_cpu.md). Used by insert_quantizers and the exporter. Stateless.
#pragma once

#include "quant/graph/graph.h"

namespace pactory::quant {

/// Whether a Q behind `node` takes its place: the saturation at zero of an unsigned grid is the ReLU.
bool IsAbsorbedByQuantizer(const Node& node);

/// Whether the weighted op `node` may give out float with its inputs quantized; else it needs a Q behind it to be fused.
bool MayGiveFloat(const Node& node);

/// Whether the weight's DequantizeLinear must name its zero point for the op to be fused.
bool NeedsWeightZeroPoint(const Node& node);

/// Whether an op without weights is computed in int8 when its inputs and output are quantized, and gains by it.
bool RunsOnQuantizedActivations(const Node& node);

}  // namespace pactory::quant
