// What ONNX Runtime's CPU provider computes in int8 with gain, and what it fuses: the measured facts of docs/export_ort_cpu.md
// that decide where Q/DQ pairs stand in a file of profile `ort_cpu`. Used by insert_quantizers and the exporter. Stateless.
#pragma once

#include <set>
#include <string>

#include "quant/graph/graph.h"

namespace pactory::quant {

/// Bits of the integer kernels; values of fewer bits are computed in float.
inline constexpr int64_t kKernelBits = 8;

/// Whether a Q behind `node` takes its place: the saturation of the grid is the Relu, or the Clip to an end and to 0 or the other end's
/// opposite.
bool IsAbsorbedByQuantizer(const Graph& graph, const Node& node);

/// Whether the int8 layer `node` may give out float; else it needs a Q behind it to be fused.
bool MayGiveFloat(const Node& node);

/// Whether the weight's DequantizeLinear must name its zero point for the op to be fused.
bool NeedsWeightZeroPoint(const Node& node);

/// Whether `node` is an op without weights that runs in int8 between quantized values.
bool JoinsQuantizedValues(const Node& node);

/// Returns the names of those layers among `candidates` (nodes with a stored weight) that are to be computed in int8; the
/// others keep int8 weights in the file and are faster in float (rules 4 to 6).
std::set<std::string> FindInt8Layers(const Graph& graph, const std::set<std::string>& candidates);

}  // namespace pactory::quant
