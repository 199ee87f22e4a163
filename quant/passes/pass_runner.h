// The graph passes between import and quantization, in their one order. Used by the pipeline and `pactory-trainer`.
// Stateless.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "pactory/v1/quantization.pb.h"
#include "quant/graph/graph.h"

namespace pactory::quant {

/// A rewrite of the graph that keeps its outputs as they are.
struct Pass {
  /// The verb phrase that names its file.
  std::string name;
  std::function<absl::Status(Graph&)> apply;
};

/// What one pass did.
struct PassReport {
  std::string name;
  double seconds = 0;
  int64_t nodes_before = 0;
  int64_t nodes_after = 0;
};

/// Returns the passes that prepare an imported graph for quantization, in order; the .cc says why.
const std::vector<Pass>& PreparationPasses();

/// Returns the passes that a complete config asks for, in order; they follow the preparation.
std::vector<Pass> ConfiguredPasses(const v1::QuantizationConfig& config);

/// Runs `passes`, removing dead code and verifying the graph after each. An error names the pass.
absl::StatusOr<std::vector<PassReport>> RunPasses(const std::vector<Pass>& passes, Graph& graph);

/// Runs PreparationPasses.
absl::StatusOr<std::vector<PassReport>> PrepareGraph(Graph& graph);

}  // namespace pactory::quant
