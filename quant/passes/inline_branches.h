// A pass: an If whose condition is known becomes the branch that it takes. Stateless.
#pragma once

#include "absl/status/status.h"
#include "quant/graph/graph.h"

namespace pactory::quant {

/// Replaces every If with a constant condition by the nodes of its branch, also those that stand in such a branch.
absl::Status InlineBranches(Graph& graph);

}  // namespace pactory::quant
