// Where a classifier's logits are: in front of the softmax it ends in, or its output itself. Used by training. Stateless.
#pragma once

#include <string>

#include "quant/graph/graph.h"

namespace pactory::quant {

/// Returns the value that losses read as logits: the input of the Softmax or LogSoftmax that writes the first output (through
/// Identity), or the first output where there is none.
std::string FindLogits(const Graph& graph);

}  // namespace pactory::quant
