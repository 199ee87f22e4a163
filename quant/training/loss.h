// The loss of quantization-aware training: cross-entropy against labels, distillation from the uploaded model, or both.
// Used by the training loop. Stateless.
#pragma once

#include <ATen/core/Tensor.h>

#include "absl/status/statusor.h"
#include "pactory/v1/quantization.pb.h"

namespace pactory::quant {

/// How much each part counts.
struct LossWeights {
  double task = 0;
  double distillation = 0;
  double temperature = 1;
};

/// Whether the training data has labels.
enum class Labels { kPresent, kAbsent };

/// Reads the weights from a complete config; the task's default is 1 with labels, else 0. INVALID_ARGUMENT names the field
/// where the task loss is asked for without labels, or nothing is left to train on.
absl::StatusOr<LossWeights> ReadLossWeights(const v1::TrainingConfig& config, Labels labels);

/// Returns the mean loss of a batch, a scalar:
///   task * mean(-log softmax(logits)[label]) + distillation * T^2 * mean KL(softmax(teacher / T) || softmax(logits / T))
/// `logits` is N x C x ... with classes on the last axis; `labels` (N integers) needs N x C; either of `labels` and
/// `teacher_logits` may be undefined where its weight is 0. Requires: shapes agree.
at::Tensor TrainingLoss(const LossWeights& weights, const at::Tensor& logits, const at::Tensor& labels,
                        const at::Tensor& teacher_logits);

}  // namespace pactory::quant
