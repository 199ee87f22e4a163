// The task's part of the loss of quantization-aware training, and how much each part counts; distillation.h has the other part.
// Used by the training loop. Stateless.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "pactory/v1/quantization.pb.h"
#include "quant/graph/graph.h"

namespace pactory::quant {

/// How much each part counts.
struct LossWeights {
  double task = 0;
  double distillation = 0;
  double temperature = 1;
};

/// Whether the training data has labels, or targets where the task asks for them.
enum class Labels { kPresent, kAbsent };

/// Reads the weights from a complete config; the task's default is 1 with labels, else 0. INVALID_ARGUMENT names the field
/// where the task loss is asked for without labels, or nothing is left to train on.
absl::StatusOr<LossWeights> ReadLossWeights(const v1::TrainingConfig& config, Labels labels);

/// Returns the names of the outputs that the task's loss compares with targets: all for MSE and L1, none for CROSS_ENTROPY.
std::vector<std::string> TargetNames(const v1::TrainingConfig& config, const Graph& graph);

/// Returns the mean of -log softmax(logits)[label], a scalar, with the label's share 1 - label_smoothing + label_smoothing / C and
/// label_smoothing / C for the others. `logits` is N x C, `labels` N integers.
at::Tensor CrossEntropy(const at::Tensor& logits, const at::Tensor& labels, double label_smoothing);

/// Returns the mean squared (MSE) or absolute (L1) error, a scalar. INVALID_ARGUMENT where the number of values differs.
absl::StatusOr<at::Tensor> RegressionLoss(v1::TrainingConfig::TaskLoss kind, const at::Tensor& output, const at::Tensor& target);

}  // namespace pactory::quant
