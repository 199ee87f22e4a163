#include "quant/passes/pass_runner.h"

#include <chrono>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "quant/guard.h"
#include "quant/passes/equalize_layers.h"
#include "quant/passes/fold_batch_norm.h"
#include "quant/passes/fold_constants.h"
#include "quant/passes/fuse_matmul_add.h"
#include "quant/passes/inline_branches.h"
#include "quant/passes/merge_transposes.h"
#include "quant/passes/own_biases.h"
#include "quant/passes/remove_identity.h"
#include "quant/passes/replace_decomposed_hard_swish.h"
#include "quant/passes/replace_shape_arithmetic.h"
#include "quant/passes/split_fused_ops.h"
#include "quant/passes/widen_floats.h"

namespace pactory::quant {

const std::vector<Pass>& PreparationPasses() {
  static const auto* passes = new std::vector<Pass>{
      // First, because exporters compute biases, axes and shapes in nodes, and every later pass looks for constants.
      {"fold_constants", FoldConstants},
      // After constants, which make conditions known; and again after it, because branches compute shapes too.
      {"inline_branches", InlineBranches},
      {"fold_inlined_constants", FoldConstants},
      // Before every pattern, which know the plain layers only.
      {"split_fused_ops", SplitFusedOps},
      // Now that stored weights are constants of plain layers, whose types it asks for.
      {"widen_floats", WidenFloats},
      // After constants, because it takes them as the known part of a shape.
      {"replace_shape_arithmetic", ReplaceShapeArithmetic},
      // Before identities, since two transposes may undo each other.
      {"merge_transposes", MergeTransposes},
      // Before the patterns below, because an Identity in the middle hides them.
      {"remove_identity", RemoveIdentity},
      // Before folding, because folding would take its `+ 3` into a bias.
      {"replace_decomposed_hard_swish", ReplaceDecomposedHardSwish},
      // Before folding, so that a BatchNormalization behind a linear layer finds a Gemm.
      {"fuse_matmul_add", FuseMatmulAdd},
      // Last: its results are the weights that are quantized.
      {"fold_batch_norm", FoldBatchNorm},
  };
  return *passes;
}

std::vector<Pass> ConfiguredPasses(const v1::QuantizationConfig& config) {
  std::vector<Pass> passes;
  if (config.weights().equalize()) passes.push_back({"equalize_layers", EqualizeLayers});
  // After equalization, which leaves layers without a bias alone.
  if (config.calibration().bias_correction()) passes.push_back({"own_biases", OwnBiases});
  return passes;
}

absl::StatusOr<std::vector<PassReport>> RunPasses(const std::vector<Pass>& passes, Graph& graph) {
  std::vector<PassReport> reports;
  for (const Pass& pass : passes) {
    const auto start = std::chrono::steady_clock::now();
    PassReport report{.name = pass.name, .nodes_before = static_cast<int64_t>(graph.nodes.size())};
    const absl::Status status = GuardTorch("graph", [&] {
      PACTORY_RETURN_IF_ERROR(pass.apply(graph));
      graph.RemoveDeadCode();
      return graph.Verify();
    });
    if (!status.ok()) return Prefixed(status, absl::StrCat("pass ", pass.name, ": "));
    report.nodes_after = static_cast<int64_t>(graph.nodes.size());
    report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    reports.push_back(std::move(report));
  }
  return reports;
}

absl::StatusOr<std::vector<PassReport>> PrepareGraph(Graph& graph) { return RunPasses(PreparationPasses(), graph); }

}  // namespace pactory::quant
