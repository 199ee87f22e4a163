// Models that compute in float16, bfloat16 or float64: training, grids and integer kernels know float32. One of the preparation passes.
// Stateless.
#pragma once

#include "absl/status/status.h"
#include "quant/graph/graph.h"

namespace pactory::quant {

/// Makes a graph that has a layer with a stored weight of float16, bfloat16 or float64 compute in float32 throughout; other graphs stay
/// as they are. Inputs keep the file's types, with a Cast behind them. Outputs are written as float32; their ValueInfo keeps the file's
/// type, to which the exporter casts. Casts between two types that are both float32 now are gone.
absl::Status WidenFloats(Graph& graph);

}  // namespace pactory::quant
