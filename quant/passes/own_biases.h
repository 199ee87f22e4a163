// Makes room for bias correction. Stateless.
#pragma once

#include "absl/status/status.h"
#include "quant/graph/graph.h"

namespace pactory::quant {

/// Gives each Conv, ConvTranspose and Gemm with a stored weight a bias that no other node reads: zeros where it has none, a copy
/// where others read it too.
absl::Status OwnBiases(Graph& graph);

}  // namespace pactory::quant
