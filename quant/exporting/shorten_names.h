// Short names for everything that a file's reader does not need to name. Used by the exporter. Stateless.
#pragma once

#include "quant/graph/graph.h"

namespace pactory::quant {

/// Renames every value but the graph's inputs and outputs to one or two characters where they last, and every node alike:
/// in a small model the names of a quantized graph take as many bytes as a tenth of its weights.
void ShortenNames(Graph& graph);

}  // namespace pactory::quant
