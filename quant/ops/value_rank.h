// How many dimensions a value has, as far as the graph tells. Used by the exporter and the choice of a metric. Stateless.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"
#include "quant/graph/graph.h"

namespace pactory::quant {

/// Returns the rank of a value, derived from the declared inputs, the initializers and the ops between, or from the declared
/// outputs; nothing where an op in front hides it.
std::optional<int64_t> RankOf(const Graph& graph, absl::string_view value);

}  // namespace pactory::quant
