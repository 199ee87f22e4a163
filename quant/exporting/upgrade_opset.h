// Brings a graph to the opset the exported file has. Used by the exporter. Stateless.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "quant/graph/graph.h"

namespace pactory::quant {

/// Opset of the default domain that exported files have at least: scales per channel came with 13, HardSwish with 14.
inline constexpr int64_t kExportOpset = 14;

/// Opset that DequantizeLinear takes INT4 from.
inline constexpr int64_t kInt4Opset = 21;

/// Rewrites nodes whose form changed between the graph's opset and `target` (attributes that became inputs, defaults that changed),
/// which is kExportOpset or kInt4Opset. A graph of that opset or a newer one stays. UNIMPLEMENTED names a node that has no equal
/// form.
absl::Status UpgradeOpset(Graph& graph, int64_t target);

/// Returns the ops that UpgradeOpset rewrites or refuses, by name, each with the opsets that changed its form.
std::map<std::string, std::set<int64_t>> RewrittenOps();

}  // namespace pactory::quant
