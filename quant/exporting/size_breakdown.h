// Where the bytes of an ONNX file go. Used by the exporter and the report. Stateless.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace pactory::quant {

/// Bytes of a file by what they are for; the sum is the file's size.
struct SizeBreakdown {
  /// Elements of all other tensors: weights.
  int64_t weights = 0;
  /// Scales and zero points, of Q/DQ pairs and of weights that are multiplied back.
  int64_t scales = 0;
  /// Third inputs of nodes with weights, in int32 or float.
  int64_t biases = 0;
  /// Nodes: op names, value names, attributes.
  int64_t nodes = 0;
  /// Names of tensors, headers, inputs and outputs.
  int64_t other = 0;

  int64_t total() const { return weights + scales + biases + nodes + other; }
};

/// Counts the bytes of a serialized ONNX model. INVALID_ARGUMENT where it can't be parsed.
absl::StatusOr<SizeBreakdown> BreakDownSize(absl::string_view model);

}  // namespace pactory::quant
