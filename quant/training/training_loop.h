// Quantization-aware training: float weights and alphas of a QuantizedModel, step by step, with checkpoints that resume
// exactly, a way back from divergence, and the choice of what is kept. Used by the pipeline. Not thread-safe.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "pactory/v1/quantization.pb.h"
#include "quant/quantizers/quantized_model.h"
#include "quant/training/batch_norm.h"
#include "quant/training/checkpoint.h"
#include "quant/training/distillation.h"
#include "quant/training/flight_recorder.h"
#include "quant/training/loss.h"
#include "quant/training/optimizer.h"
#include "quant/training/stability.h"
#include "quant/training/training_history.h"
#include "quant/training/weight_average.h"

namespace pactory::quant {

/// What one step learns from.
struct TrainingBatch {
  /// In the order of the graph's inputs.
  std::vector<at::Tensor> inputs;
  /// Undefined where the loss needs none.
  at::Tensor labels;
  /// For MSE and L1: by output.
  std::map<std::string, at::Tensor> targets;
  /// The uploaded model's tensors, one for each target of the distillation.
  std::vector<at::Tensor> teacher;
};

/// Gives the batch of a step, counted from 0: a pure function of the step, so that a resumed training sees the same data.
using BatchSource = std::function<absl::StatusOr<TrainingBatch>(int64_t step)>;

/// What training tells and asks while it runs. A status that is not OK ends the training with it. Any may be null.
struct TrainingHooks {
  /// After each step.
  std::function<absl::Status(const StepRecord&)> on_step;
  /// After each step in which the quantizers were recorded, every `record_every`, before on_step.
  std::function<void(const QuantizerRecord&)> on_record;
  /// Every `evaluate_every` steps and after the last; returns the accuracy.
  std::function<absl::StatusOr<double>(int64_t step)> evaluate;
  /// Every `checkpoint_every` steps, between them where `checkpoint_due` says so, and not after the last.
  std::function<void(const Checkpoint&, int64_t step)> on_checkpoint;
  /// Asked after each step that is none of those. When a checkpoint is due changes nothing of the training.
  std::function<bool()> checkpoint_due;
  /// Asked last after each step, behind its checkpoint.
  std::function<absl::Status()> may_go_on;
  /// Asked after each step: why training is to end now, with what there is; "" while it may go on.
  std::function<std::string()> end_reason;
};

/// What to train.
struct TrainingTask {
  /// Complete.
  v1::TrainingConfig config;
  v1::AlphaConfig alpha;
  /// Learning rate of the ranges that weights learn, as a multiple of the weights'.
  double weight_range_rate = 1;
  LossWeights loss;
  /// Values that the task's loss reads: the logits, or the outputs that the batches have targets for.
  std::vector<std::string> task_values;
  /// What is distilled; not read where its weight is 0.
  std::vector<DistillationTarget> targets;
  /// Parameters to train, by name; biases are exempt from weight decay.
  std::vector<std::string> weights;
  std::vector<std::string> biases;
  /// Null where every BatchNormalization stays folded; borrowed, and the model's graph is the unfolded one.
  BatchNormTraining* batch_norms = nullptr;
  /// Training ends at an evaluation that finds at least this accuracy.
  std::optional<double> enough_metric;
};

/// Name of a learned value in histories and metrics: a quantizer with one, its alpha, lends it its own.
std::string LearnedName(const Quantizer& quantizer, const LearnedValue& value);

/// One training of one model.
class TrainingLoop {
 public:
  /// Borrows `model`, whose parameters become leaves that require gradients.
  TrainingLoop(QuantizedModel& model, TrainingTask task, BatchSource batches);

  /// Takes over the state of a checkpoint: weights, quantizers, optimizer, averages, the best so far, step, history.
  /// FAILED_PRECONDITION where the checkpoint is of another model or config; the model is then unchanged.
  absl::Status Restore(const Checkpoint& checkpoint);

  /// Trains from the present step to the last, or to an earlier end, and leaves in the model what `keep` asks for.
  /// FAILED_PRECONDITION when the loss is not finite again and again.
  absl::StatusOr<TrainingHistory> Run(const TrainingHooks& hooks);

 private:
  absl::StatusOr<at::Tensor> TaskLoss(const std::vector<at::Tensor>& values, const TrainingBatch& batch) const;
  absl::StatusOr<at::Tensor> Loss(const TrainingBatch& batch);
  absl::StatusOr<StepRecord> Step(const TrainingHooks& hooks);
  // Why the step just made must be taken back, or "".
  std::string FindFault(const StepRecord& record, std::string& faulty_range) const;
  absl::Status RollBack(const StepRecord& record, const std::string& fault, const std::string& faulty_range);
  absl::Status Evaluate(const TrainingHooks& hooks);
  void MaybeCheckpoint(const TrainingHooks& hooks);
  bool EndsEarly(const TrainingHooks& hooks);
  absl::Status Finish();
  absl::Status ReestimateStatistics();
  Checkpoint Snapshot();
  // What the optimizers change.
  std::map<std::string, at::Tensor> TrainedState();
  // What is evaluated and exported: that, and all that quantizers hold.
  std::map<std::string, at::Tensor> ResultState();
  std::map<std::string, at::Tensor> LiveState();
  void HoldRanges();
  void RecordAlphas();

  QuantizedModel& model_;
  const TrainingTask task_;
  const BatchSource batches_;
  std::unique_ptr<Optimizer> weight_optimizer_;
  std::unique_ptr<Optimizer> alpha_optimizer_;
  std::unique_ptr<WeightAverage> average_;
  FlightRecorder recorder_;
  LossWatch loss_watch_;
  TrainingHistory history_;
  int64_t step_ = 0;
  // Halved at each rollback for the loss's sake.
  double rate_factor_ = 1;
  // Learned values that a rollback left as they were, in the order of alpha_names.
  std::vector<bool> held_;
  // The way back: after a multiple of `checkpoint_every` steps, or the start.
  Checkpoint last_good_;
  // The result with the best evaluation so far; empty before the first.
  Checkpoint best_;
  double best_metric_ = 0;
  int64_t best_step_ = 0;
};

}  // namespace pactory::quant
