#include "quant/pipeline/training_task.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <utility>

#include "base/status_macros.h"
#include "quant/data/augment.h"
#include "quant/data/data_order.h"
#include "quant/training/output_head.h"

namespace pactory::quant {
namespace {

// The samples of each step; the last samples of an epoch that fill no batch wait for the next shuffle.
class StepSamples {
 public:
  StepSamples(int64_t size, const v1::TrainingConfig& config)
      : size_(size), batch_(std::min<int64_t>(config.batch_size(), size)), seed_(static_cast<uint64_t>(config.seed())) {}

  std::vector<int64_t> Of(int64_t step) {
    const int64_t per_epoch = size_ / batch_;
    if (const int64_t epoch = step / per_epoch; epoch != epoch_) {
      order_ = ShuffledOrder(size_, seed_, epoch);
      epoch_ = epoch;
    }
    const auto first = order_.begin() + (step % per_epoch) * batch_;
    return {first, first + batch_};
  }

 private:
  const int64_t size_;
  const int64_t batch_;
  const uint64_t seed_;
  // Of the epoch that was asked for last: shuffling a large dataset takes as long as a step.
  int64_t epoch_ = -1;
  std::vector<int64_t> order_;
};

// The teacher runs for every batch, also for samples it has seen: what it gave for them in another batch may differ in the last
// bit, and a resumed training would not end as one in one go.
absl::StatusOr<std::vector<at::Tensor>> TeacherTensors(PipelineState& state, const std::vector<at::Tensor>& inputs,
                                                       const std::vector<DistillationTarget>& targets) {
  c10::NoGradGuard no_grad;
  std::vector<std::string> values;
  for (const DistillationTarget& target : targets) values.push_back(target.teacher);
  std::vector<at::Tensor> results;
  PACTORY_ASSIGN_OR_RETURN(results, state.fp32->RunAndFetch(inputs, values));
  return std::vector<at::Tensor>(results.end() - static_cast<int64_t>(values.size()), results.end());
}

}  // namespace

BatchSource MakeTrainingBatches(PipelineState& state, const LossWeights& weights, const std::vector<DistillationTarget>& targets) {
  StepSamples samples_of(state.train->size(), state.config.training());
  return [&state, weights, targets, samples_of](int64_t step) mutable -> absl::StatusOr<TrainingBatch> {
    const std::vector<int64_t> indices = samples_of.Of(step);
    PACTORY_ASSIGN_OR_RETURN(Batch samples, state.train->Read(indices));
    TrainingBatch batch;
    for (const size_t i : state.augmented_inputs) {
      samples.inputs[i] = Augment(state.config.preprocess(), samples.inputs[i], indices, state.config.training().seed(), step);
    }
    batch.inputs = OnDevice(std::move(samples.inputs), state.device);
    if (weights.task > 0 && samples.y.defined()) batch.labels = samples.y.to(state.device);
    if (weights.task > 0 && state.config.training().task_loss() == v1::TrainingConfig::CTC) {
      batch.targets.emplace(FindLogits(state.quantized_graph), batch.labels);
    }
    if (weights.task > 0) {
      for (const auto& [name, target] : samples.targets) batch.targets.emplace(name, target.to(state.device));
    }
    if (weights.distillation > 0) {
      PACTORY_ASSIGN_OR_RETURN(batch.teacher, TeacherTensors(state, batch.inputs, targets));
    }
    return batch;
  };
}

TrainingTask MakeTrainingTask(const PipelineState& state, const LossWeights& weights) {
  TrainingTask task;
  task.config = state.config.training();
  task.alpha = state.config.activations().alpha();
  task.weight_range_rate = state.config.weights().learning_rate_multiplier();
  task.loss = weights;
  for (const auto& [output, shape] : state.train->targets()) task.task_values.push_back(output);
  if (task.task_values.empty()) task.task_values = {FindLogits(state.quantized_graph)};
  task.targets = state.targets;
  FindStudentValues(state.quantized_graph, task.targets);
  if (task.config.has_stop_at_metric_drop()) task.enough_metric = state.report.fp32->share() - task.config.stop_at_metric_drop();
  for (const LayerPlan& layer : state.plan.layers) {
    if (!layer.weight.empty()) task.weights.push_back(layer.weight);
    if (!layer.bias.empty()) task.biases.push_back(layer.bias);
  }
  return task;
}

}  // namespace pactory::quant
