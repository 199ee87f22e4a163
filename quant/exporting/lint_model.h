// Holds a quantized ONNX file against the rules of the runtime it is for: docs/export_profiles.md says why each is there. Used by
// `pactory-trainer lint` and on every file that is exported. Stateless.
#pragma once

#include <string>
#include <vector>

#include "pactory/v1/quantization.pb.h"
#include "quant/graph/graph.h"

namespace pactory::quant {

/// Whether the runtime refuses the file or computes something else, or is only slower or less exact than it could be.
enum class LintSeverity { kError, kWarning };

/// One broken rule.
struct LintFinding {
  LintSeverity severity = LintSeverity::kError;
  /// Like `zero-point`.
  std::string rule;
  /// Name and op of the node; "" where the whole file is meant.
  std::string node;
  std::string op_type;
  std::string message;
};

/// Returns what is wrong with `graph`, an imported file, in the order of its nodes; nothing where it keeps to the profile's rules:
///  - `opset`: scales per channel need opset 13, INT4 needs 21
///  - `quantized`: something is quantized at all
///  - `scale`: scales and zero points are stored, scales positive and finite, zero points of the integers' type and the scale's shape
///  - `axis`: a weight's scales run over the output channels of its layer
///  - `weight-zero-point`: weights are symmetric
///  - `bias`: an int32 bias has the scale of input times weight, and zero point 0
///  - `pair`: a Q's integers are read by a DQ alone (ORT_CPU: or by a Clip of the integers)
///  - `zero-point`, `type`, `operator`, `levels`: what TENSORRT and OPENVINO do not take
///  - `residual`: TENSORRT: the other input of an Add behind an int8 layer is quantized too
///  - `fusion`: ORT_CPU: a Conv between pairs has a Q of its input's type as its only reader; QOPERATOR: pairs around a product are
///    written as operators
///  - `pair-sum`: sums of two products that can pass 16 bits on CPUs without VNNI, by the weights alone
std::vector<LintFinding> LintModel(const Graph& graph, v1::ExportConfig::Profile profile);

}  // namespace pactory::quant
