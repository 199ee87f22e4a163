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

/// Reads the weights from a complete config; the task's default is 1 with labels and for CTC and DICE, else 0. INVALID_ARGUMENT names the
/// field where the task loss is asked for without labels, or nothing is left to train on.
absl::StatusOr<LossWeights> ReadLossWeights(const v1::TrainingConfig& config, Labels labels);

/// Returns the names of the outputs that the task's loss compares with targets of the data: all for MSE and L1, the first for DICE, none
/// for CROSS_ENTROPY and CTC, which have labels.
std::vector<std::string> TargetNames(const v1::TrainingConfig& config, const Graph& graph);

/// Returns the mean of -log softmax(logits)[label], a scalar, with the label's share 1 - label_smoothing + label_smoothing / C and
/// label_smoothing / C for the others. `logits` is N x C, `labels` N integers.
at::Tensor CrossEntropy(const at::Tensor& logits, const at::Tensor& labels, double label_smoothing);

/// Returns the connectionist temporal classification loss (Graves et al. 2006, equation 8), a scalar: of each line -log of the summed
/// probability of all ways to write it, over its length; the mean of these. `logits` is N x steps x classes, class 0 the blank; `labels`
/// N x L integers from 1, filled up with -1 at the end. A line that needs more steps than there are counts as 0. Computed on the CPU,
/// whose sums have one order. INVALID_ARGUMENT where logits or labels have another form.
absl::StatusOr<at::Tensor> CtcLoss(const at::Tensor& logits, const at::Tensor& labels);

/// Returns the dice loss (Milletari et al. 2016, with sums in place of squares), a scalar: 1 - (2 * sum(m * y) + 1) / (sum(m) + sum(y) + 1)
/// of each sample, in [0, 1]; the mean of these. The 1, of one value in a map, gives maps of nothing a slope. `output` and `mask` are
/// from 0 to 1, N x as many values. INVALID_ARGUMENT where their number differs.
absl::StatusOr<at::Tensor> DiceLoss(const at::Tensor& output, const at::Tensor& mask);

/// Returns the loss of an output against its target, a scalar: the mean squared (MSE) or absolute (L1) error, DiceLoss (DICE) or, for
/// labels as the target, CtcLoss (CTC). INVALID_ARGUMENT where the number of values differs.
absl::StatusOr<at::Tensor> TargetLoss(v1::TrainingConfig::TaskLoss kind, const at::Tensor& output, const at::Tensor& target);

}  // namespace pactory::quant
