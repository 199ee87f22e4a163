// Writes Q/DQ pairs as integer operators: what ONNX Runtime makes of the pairs when it loads a file, stored in the file itself.
// Used by the exporter for profile QOPERATOR. Stateless.
#pragma once

#include "quant/graph/graph.h"

namespace pactory::quant {

/// Replaces, in a lowered graph, DequantizeLinear -> op -> QuantizeLinear by one integer operator:
///  - Conv (with the Relu behind it, where Q's saturation at zero point 0 is the Relu) by QLinearConv;
///  - MatMul by QLinearMatMul, or by com.microsoft's MatMulIntegerToFloat where its output stays float;
///  - Gemm by com.microsoft's QGemm, with an integer or a float output;
///  - Add by com.microsoft's QLinearAdd;
///  - ops that only move values, between pairs of one scale, by themselves on integers.
/// Other pairs stay as they are.
void FuseToQoperators(Graph& graph);

}  // namespace pactory::quant
