// Quantization-aware training: float weights and alphas of a QuantizedModel, step by step, with checkpoints that resume
// exactly and a way back from divergence. Used by the pipeline. Not thread-safe.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "pactory/v1/quantization.pb.h"
#include "quant/quantizers/quantized_model.h"
#include "quant/training/checkpoint.h"
#include "quant/training/loss.h"
#include "quant/training/optimizer.h"
#include "quant/training/training_history.h"

namespace pactory::quant {

/// What one step learns from.
struct TrainingBatch {
  at::Tensor x;
  /// Undefined where the loss needs none.
  at::Tensor labels;
  /// Logits of the uploaded model; undefined where the loss needs none.
  at::Tensor teacher_logits;
};

/// Gives the batch of a step, counted from 0: a pure function of the step, so that a resumed training sees the same data.
using BatchSource = std::function<absl::StatusOr<TrainingBatch>(int64_t step)>;

/// What training tells while it runs. A status that is not OK ends the training with it. Any may be null.
struct TrainingHooks {
  /// After each step.
  std::function<absl::Status(const StepRecord&)> on_step;
  /// Every `evaluate_every` steps and not after the last; returns the accuracy.
  std::function<absl::StatusOr<double>()> evaluate;
  /// Every `checkpoint_every` steps and not after the last.
  std::function<absl::Status(const Checkpoint&, int64_t step)> on_checkpoint;
};

/// What to train.
struct TrainingTask {
  /// Complete.
  v1::TrainingConfig config;
  v1::AlphaConfig alpha;
  /// Learning rate of the ranges that weights learn, as a multiple of the weights'.
  double weight_range_rate = 1;
  LossWeights loss;
  /// Value of the graph that the loss reads as logits.
  std::string logits;
  /// Parameters to train, by name; biases are exempt from weight decay.
  std::vector<std::string> weights;
  std::vector<std::string> biases;
};

/// Name of a learned value in histories and metrics: a quantizer with one, its alpha, lends it its own.
std::string LearnedName(const Quantizer& quantizer, const LearnedValue& value);

/// One training of one model.
class TrainingLoop {
 public:
  /// Borrows `model`, whose parameters become leaves that require gradients.
  TrainingLoop(QuantizedModel& model, TrainingTask task, BatchSource batches);

  /// Takes over the state of a checkpoint: weights, quantizers, optimizer, step, history. FAILED_PRECONDITION where the
  /// checkpoint is of another model or config; the model is then unchanged.
  absl::Status Restore(const Checkpoint& checkpoint);

  /// Trains from the present step to the last. FAILED_PRECONDITION when the loss is not finite again and again.
  absl::StatusOr<TrainingHistory> Run(const TrainingHooks& hooks);

 private:
  absl::StatusOr<StepRecord> Step();
  absl::Status RollBack(double loss);
  Checkpoint Snapshot();
  std::map<std::string, at::Tensor> LiveState();
  void RecordAlphas();

  QuantizedModel& model_;
  const TrainingTask task_;
  const BatchSource batches_;
  std::unique_ptr<Optimizer> weight_optimizer_;
  std::unique_ptr<Optimizer> alpha_optimizer_;
  TrainingHistory history_;
  int64_t step_ = 0;
  // Halved at each rollback.
  double rate_factor_ = 1;
  Checkpoint last_good_;
};

}  // namespace pactory::quant
