#include "quant/training/loss.h"

#include <ATen/ATen.h>

#include <sstream>

#include "absl/strings/str_cat.h"
#include "base/error.h"

namespace pactory::quant {

absl::StatusOr<LossWeights> ReadLossWeights(const v1::TrainingConfig& config, Labels labels) {
  LossWeights weights;
  weights.distillation = config.distillation_loss_weight();
  weights.temperature = config.distillation_temperature();
  if (config.has_task_loss_weight()) {
    weights.task = config.task_loss_weight();
  } else {
    weights.task = labels == Labels::kPresent ? 1 : 0;
  }
  if (weights.task > 0 && labels == Labels::kAbsent) {
    return InvalidField("training.task_loss_weight",
                        config.task_loss() == v1::TrainingConfig::CROSS_ENTROPY
                            ? "the training data has no labels; set it to 0 to train by distillation alone"
                            : "the training data has no array named as an output, nor `y`; set it to 0 to train by distillation alone");
  }
  if (weights.task == 0 && weights.distillation == 0) {
    return InvalidField("training.distillation_loss_weight",
                        "must be above 0 where there is no task loss (no labels, or its weight is 0)");
  }
  return weights;
}

std::vector<std::string> TargetNames(const v1::TrainingConfig& config, const Graph& graph) {
  std::vector<std::string> names;
  if (config.task_loss() == v1::TrainingConfig::CROSS_ENTROPY) return names;
  for (const ValueInfo& output : graph.outputs) names.push_back(output.name);
  return names;
}

at::Tensor CrossEntropy(const at::Tensor& logits, const at::Tensor& labels, double label_smoothing) {
  const at::Tensor rows = logits.reshape({logits.size(0), -1});
  return at::cross_entropy_loss(rows, labels, /*weight=*/{}, at::Reduction::Mean, /*ignore_index=*/-100, label_smoothing);
}

absl::StatusOr<at::Tensor> RegressionLoss(v1::TrainingConfig::TaskLoss kind, const at::Tensor& output, const at::Tensor& target) {
  if (output.numel() != target.numel() || output.size(0) != target.size(0)) {
    std::ostringstream shapes;
    shapes << "output=" << output.sizes() << " target=" << target.sizes();
    return absl::InvalidArgumentError(absl::StrCat("targets must have the shape of their output: ", shapes.str()));
  }
  const at::Tensor error = output - target.reshape(output.sizes());
  return kind == v1::TrainingConfig::L1 ? error.abs().mean() : error.square().mean();
}

}  // namespace pactory::quant
