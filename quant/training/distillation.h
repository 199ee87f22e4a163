// Distillation: which tensors of the quantized model are compared with the uploaded model's, how, and the loss. Used by the
// training loop and the pipeline. Stateless.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "pactory/v1/quantization.pb.h"
#include "quant/graph/graph.h"

namespace pactory::quant {

/// How two tensors are compared.
enum class Divergence {
  /// KL divergence of the softmax over the classes, summed over them, mean over all else.
  kSoftmax,
  /// KL divergence of each element's sigmoid, mean over all elements.
  kSigmoid,
  /// Mean squared error over the teacher's variance.
  kSquaredError,
};

/// One tensor to distill.
struct DistillationTarget {
  /// The output or value that the user knows.
  std::string name;
  /// Values that are compared, of the uploaded graph and of the quantized one. For kSoftmax and kSigmoid: the logits.
  std::string teacher;
  std::string student;
  /// Softmax or Sigmoid that reads the logits; "" where the value itself is compared.
  std::string reader;
  Divergence divergence = Divergence::kSquaredError;
  /// kSoftmax: axis of the classes.
  int64_t axis = -1;
  /// kSoftmax before opset 13: the axes from `axis` on are one.
  bool joins_axes = false;
  double weight = 1;
};

/// Chooses the targets of a prepared graph: every output, by the op that writes it, and what
/// `training.distillation_targets` adds, changes or leaves out. A Concat that writes an output counts as its parts.
/// `student` is left as `teacher`. INVALID_ARGUMENT names the entry that matches no value.
absl::StatusOr<std::vector<DistillationTarget>> ChooseTargets(const Graph& graph, const v1::TrainingConfig& config);

/// Sets `student` for the quantized form of the same graph: what the softmax or sigmoid reads there, which may be quantized.
void FindStudentValues(const Graph& quantized, std::vector<DistillationTarget>& targets);

/// Returns sum over targets of weight * divergence, a scalar, with logits divided by `temperature` T and their divergence
/// multiplied by T^2, which keeps the gradient's size apart from it (Hinton et al. 2015). INVALID_ARGUMENT names a target whose
/// tensors are not of one shape, or not float.
absl::StatusOr<at::Tensor> DistillationLoss(const std::vector<DistillationTarget>& targets, double temperature,
                                            const std::vector<at::Tensor>& student, const std::vector<at::Tensor>& teacher);

}  // namespace pactory::quant
