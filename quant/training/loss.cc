#include "quant/training/loss.h"

#include <ATen/ATen.h>

#include <sstream>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"

namespace pactory::quant {
namespace {

const char* MissingFor(v1::TrainingConfig::TaskLoss loss) {
  switch (loss) {
    case v1::TrainingConfig::CTC: return "no sequences of labels (`y` of N x L, or .txt files beside images and preprocess.characters)";
    case v1::TrainingConfig::DICE: return "no masks (.mask.png files beside images, or an array named as the first output)";
    case v1::TrainingConfig::MSE:
    case v1::TrainingConfig::L1: return "no array named as an output, nor `y`";
    default: return "no labels";
  }
}

absl::Status CheckSameCount(const at::Tensor& output, const at::Tensor& target) {
  if (output.numel() == target.numel() && output.size(0) == target.size(0)) return absl::OkStatus();
  std::ostringstream shapes;
  shapes << "output=" << output.sizes() << " target=" << target.sizes();
  return absl::InvalidArgumentError(absl::StrCat("targets must have the shape of their output: ", shapes.str()));
}

}  // namespace

absl::StatusOr<LossWeights> ReadLossWeights(const v1::TrainingConfig& config, Labels labels) {
  LossWeights weights;
  weights.distillation = config.distillation_loss_weight();
  weights.temperature = config.distillation_temperature();
  if (config.has_task_loss_weight()) {
    weights.task = config.task_loss_weight();
  } else {
    // These losses are nobody's default: who asks for them has labels to give.
    const bool asked = config.task_loss() == v1::TrainingConfig::CTC || config.task_loss() == v1::TrainingConfig::DICE;
    weights.task = labels == Labels::kPresent || asked ? 1 : 0;
  }
  if (weights.task > 0 && labels == Labels::kAbsent) {
    return InvalidField("training.task_loss_weight", absl::StrCat("the training data has ", MissingFor(config.task_loss()),
                                                                  "; set it to 0 to train by distillation alone"));
  }
  if (weights.task == 0 && weights.distillation == 0) {
    return InvalidField("training.distillation_loss_weight",
                        "must be above 0 where there is no task loss (no labels, or its weight is 0)");
  }
  return weights;
}

std::vector<std::string> TargetNames(const v1::TrainingConfig& config, const Graph& graph) {
  std::vector<std::string> names;
  if (config.task_loss() == v1::TrainingConfig::CROSS_ENTROPY || config.task_loss() == v1::TrainingConfig::CTC) return names;
  for (const ValueInfo& output : graph.outputs) names.push_back(output.name);
  if (config.task_loss() == v1::TrainingConfig::DICE) names.resize(1);
  return names;
}

at::Tensor CrossEntropy(const at::Tensor& logits, const at::Tensor& labels, double label_smoothing) {
  const at::Tensor rows = logits.reshape({logits.size(0), -1});
  return at::cross_entropy_loss(rows, labels, /*weight=*/{}, at::Reduction::Mean, /*ignore_index=*/-100, label_smoothing);
}

absl::StatusOr<at::Tensor> CtcLoss(const at::Tensor& logits, const at::Tensor& labels) {
  if (logits.dim() != 3 || labels.dim() != 2 || logits.size(0) != labels.size(0)) {
    std::ostringstream shapes;
    shapes << "output=" << logits.sizes() << " labels=" << labels.sizes();
    return absl::InvalidArgumentError(
        absl::StrCat("training.task_loss CTC needs a first output of N x steps x classes and a sequence of labels for each sample: ",
                     shapes.str()));
  }
  const at::Tensor targets = labels.to(at::kCPU);
  // The loss reads where a label points to.
  if (targets.ge(logits.size(2)).logical_or(targets.eq(0)).any().item<bool>()) {
    return absl::InvalidArgumentError(absl::StrCat("labels must be from 1 to ", logits.size(2) - 1, ", and -1 where a line is filled up"));
  }
  const at::Tensor log_probabilities = at::log_softmax(logits.to(at::kCPU, at::kFloat), 2).transpose(0, 1);
  const at::Tensor steps = at::full({logits.size(0)}, logits.size(1), at::kLong);
  return at::ctc_loss(log_probabilities, targets.clamp_min(0), steps, targets.ne(-1).sum(1), /*blank=*/0, at::Reduction::Mean,
                      /*zero_infinity=*/true);
}

absl::StatusOr<at::Tensor> DiceLoss(const at::Tensor& output, const at::Tensor& mask) {
  PACTORY_RETURN_IF_ERROR(CheckSameCount(output, mask));
  const at::Tensor y = output.reshape({output.size(0), -1}), m = mask.reshape({mask.size(0), -1});
  return (1 - (2 * (m * y).sum(1) + 1) / (m.sum(1) + y.sum(1) + 1)).mean();
}

absl::StatusOr<at::Tensor> TargetLoss(v1::TrainingConfig::TaskLoss kind, const at::Tensor& output, const at::Tensor& target) {
  if (kind == v1::TrainingConfig::CTC) return CtcLoss(output, target);
  if (kind == v1::TrainingConfig::DICE) return DiceLoss(output, target);
  PACTORY_RETURN_IF_ERROR(CheckSameCount(output, target));
  const at::Tensor error = output - target.reshape(output.sizes());
  return kind == v1::TrainingConfig::L1 ? error.abs().mean() : error.square().mean();
}

}  // namespace pactory::quant
