// Takes folded BatchNormalizations out of a quantized graph again, for training them with folding simulated (Jacob et al. 2018,
// section 3.2; Krishnamoorthi 2018, section 3.2.1). Not one of the preparation passes: run by the training stage. Stateless.
//
// The weight and bias of a layer become outputs of a node `FoldBatchNorm` (domain "pactory") with inputs raw weight, gamma, beta, mean,
// variance; its output goes through a node `NormalizeBatch` with inputs output, gamma, beta, mean, variance. Both have the string
// attribute `layer`. NormalizeBatch writes the layer's output under its old name.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "quant/graph/graph.h"

namespace pactory::quant {

/// One layer whose BatchNormalization was taken out. All but `layer` and `epsilon` are value names.
struct UnfoldedLayer {
  /// The layer itself, as it is in the graph.
  Node layer;
  double epsilon = 0;
  /// What training computed before: now outputs of FoldBatchNorm.
  std::string weight, bias;
  /// New initializers.
  std::string raw_weight, gamma, beta, mean, variance;
};

/// Changes `graph`. A layer is left folded where a later pass replaced its weight, or where the weight or bias has other readers.
absl::StatusOr<std::vector<UnfoldedLayer>> UnfoldBatchNorms(Graph& graph);

}  // namespace pactory::quant
