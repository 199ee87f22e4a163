// Turns FakeQuantize nodes into QuantizeLinear/DequantizeLinear: the same grids, now as ONNX has them. Used by the exporter.
// Stateless.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "quant/graph/graph.h"
#include "quant/passes/insert_quantizers.h"
#include "quant/quantizers/quantized_model.h"

namespace pactory::quant {

/// Returns the model's graph in ONNX ops, its trained parameters as initializers:
///  - an activation becomes Q + DQ in the type and with the zero point of StoreGrid(); where its grid does not fill the type, a
///    Clip of the integers between the two keeps it on its part; behind a layer that is computed in float a Max stands in front of it,
///    where the runtime would else quantize that layer by itself;
///  - the weight of a layer that is computed in int8 becomes an int8 initializer + DQ, its bias (where the profile quantizes it) an
///    int32 initializer + DQ;
///  - with `pack_int4` a weight of at most 4 bits becomes an INT4 initializer + DQ (opset 21);
///  - any other weight becomes an int8 initializer + Cast + Mul, which the runtime folds when it loads the file.
/// Quantizers with one id share their scale. Counts in `raised_channels`, by weight, the channels whose scale was raised because
/// their bias did not fit 32 bits.
absl::StatusOr<Graph> LowerQuantizers(QuantizedModel& model, const QuantizationPlan& plan,
                                      const v1::ExportConfig& config, std::map<std::string, int64_t>& raised_channels);

}  // namespace pactory::quant
