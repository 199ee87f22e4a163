// What each layer takes in an exported file. Used by the exporter. Stateless.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "quant/graph/graph.h"
#include "quant/passes/insert_quantizers.h"

namespace pactory::quant {

/// One layer's constants as they are stored.
struct LayerStorage {
  /// Of its weight, bias, scales and zero points; what several layers share counts for the first.
  int64_t bytes = 0;
  /// Output channels whose stored weights are all 0.
  int64_t dead_channels = 0;
};

/// Measures the layers of a lowered graph, by the name of their node.
std::map<std::string, LayerStorage> MeasureLayerStorage(const Graph& lowered, const QuantizationPlan& plan);

}  // namespace pactory::quant
