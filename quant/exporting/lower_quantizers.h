// Turns FakeQuantize nodes into QuantizeLinear/DequantizeLinear: the same grids, now as ONNX has them. Used by the exporter.
// Stateless.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "quant/graph/graph.h"
#include "quant/passes/insert_quantizers.h"
#include "quant/quantizers/quantized_model.h"

namespace pactory::quant {

/// Returns the model's graph in ONNX ops, its trained parameters as initializers:
///  - an activation becomes Q + DQ in uint8, with the zero point of StoredZeroPoint(); below 8 bits a Clip of the
///    integers between the two keeps it on its part of the grid;
///  - the weight of a layer that is computed in int8 becomes an int8 initializer + DQ, its bias an int32 initializer + DQ;
///  - any other weight becomes an int8 initializer + Cast + Mul, which the runtime folds when it loads the file.
/// Quantizers with one id share their scale. Appends to `warnings` what was changed against the trained model.
absl::StatusOr<Graph> LowerQuantizers(QuantizedModel& model, const QuantizationPlan& plan,
                                      std::vector<std::string>& warnings);

}  // namespace pactory::quant
