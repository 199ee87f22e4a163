#include "quant/training/loss.h"

#include <ATen/ATen.h>

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
                        "the training data has no labels; set it to 0 to train by distillation alone");
  }
  if (weights.task == 0 && weights.distillation == 0) {
    return InvalidField("training.distillation_loss_weight",
                        "must be above 0 where there is no task loss (no labels, or its weight is 0)");
  }
  return weights;
}

at::Tensor TrainingLoss(const LossWeights& weights, const at::Tensor& logits, const at::Tensor& labels,
                        const at::Tensor& teacher_logits) {
  at::Tensor loss;
  if (weights.task > 0) {
    const at::Tensor rows = logits.reshape({logits.size(0), -1});
    loss = at::cross_entropy_loss(rows, labels) * weights.task;
  }
  if (weights.distillation > 0) {
    const double t = weights.temperature;
    const at::Tensor student = at::log_softmax(logits / t, -1);
    const at::Tensor teacher = at::log_softmax(teacher_logits / t, -1);
    // T^2 keeps the gradient's size apart from the temperature (Hinton et al. 2015).
    const at::Tensor divergence = (teacher.exp() * (teacher - student)).sum(-1).mean() * (t * t * weights.distillation);
    loss = loss.defined() ? loss + divergence : divergence;
  }
  return loss;
}

}  // namespace pactory::quant
