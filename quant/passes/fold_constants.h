// A pass, run by pass_runner.
#pragma once

#include "absl/status/status.h"
#include "quant/graph/graph.h"

namespace pactory::quant {

/// Computes nodes whose inputs are all constants once and for all. Results that are much larger than their inputs stay
/// nodes.
absl::Status FoldConstants(Graph& graph);

}  // namespace pactory::quant
