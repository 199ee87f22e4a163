// BatchNormalization in training with folding simulated: the quantized weight is the folded one, w = raw * gamma / sqrt(variance +
// epsilon), and the layer's output is then normalized by the statistics of its batch, as plain training would. Used by the training
// loop. Not thread-safe.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "quant/execution/executor.h"
#include "quant/passes/unfold_batch_norm.h"

namespace pactory::quant {

/// The kernels of a graph after UnfoldBatchNorms, and what they do at present.
class BatchNormTraining {
 public:
  explicit BatchNormTraining(std::vector<UnfoldedLayer> layers);
  BatchNormTraining(const BatchNormTraining&) = delete;
  BatchNormTraining& operator=(const BatchNormTraining&) = delete;

  const std::vector<UnfoldedLayer>& layers() const { return layers_; }

  /// Makes the kernel of a FoldBatchNorm or NormalizeBatch node; it borrows this. INTERNAL for another node.
  absl::StatusOr<Kernel> Bind(const Node& node);

  /// Outputs are as the folded file computes them; nothing is measured. The state at first.
  void Freeze() { momentum_ = 0; }

  /// Outputs are normalized by their batch, and the running statistics move towards it: s += momentum * (s_batch - s), the variance
  /// unbiased.
  void FollowBatches(double momentum) { momentum_ = momentum; }

  /// Returns the folded weights and biases by their old names, detached, from the parameters of the graph's executor.
  std::map<std::string, at::Tensor> FoldedParameters(const std::map<std::string, at::Tensor>& parameters) const;

 private:
  std::vector<at::Tensor> Fold(const UnfoldedLayer& layer, at::ArrayRef<at::Tensor> inputs) const;
  at::Tensor Normalize(const UnfoldedLayer& layer, at::ArrayRef<at::Tensor> inputs) const;

  const std::vector<UnfoldedLayer> layers_;
  double momentum_ = 0;
};

}  // namespace pactory::quant
