#include "quant/pipeline/time_steps.h"

#include <chrono>
#include <memory>

#include "base/status_macros.h"
#include "quant/pipeline/make_quantized_model.h"
#include "quant/pipeline/stages.h"
#include "quant/pipeline/training_task.h"

namespace pactory::quant {
namespace {

using Clock = std::chrono::steady_clock;

struct TimedTask {
  TrainingTask task;
  TrainingBatch batch;
};

absl::StatusOr<TimedTask> MakeTimedTask(PipelineState& state) {
  PACTORY_ASSIGN_OR_RETURN(const LossWeights weights, ReadLossWeights(state.config.training(), LabelsOf(state)));
  TimedTask timed{.task = MakeTrainingTask(state, weights)};
  PACTORY_ASSIGN_OR_RETURN(timed.batch, MakeTrainingBatches(state, weights, timed.task.targets)(0));
  return timed;
}

absl::StatusOr<double> MeanStepSeconds(PipelineState& state, QuantizedModel& model, const TimedTask& timed) {
  TrainingLoop loop(model, timed.task, [&timed](int64_t) { return timed.batch; });
  const int64_t last = timed.task.config.steps();
  Clock::time_point begin, end;
  TrainingHooks hooks;
  hooks.on_step = [&](const StepRecord& record) {
    if (record.step == 1) begin = Clock::now();
    if (record.step == last - 1) end = Clock::now();
    return state.meter.Advance(0);
  };
  PACTORY_RETURN_IF_ERROR(loop.Run(hooks).status());
  return std::chrono::duration<double>(end - begin).count() / static_cast<double>(last - 2);
}

}  // namespace

absl::StatusOr<StepTimes> TimeSteps(const QuantizationJob& job, JobListener& listener, const StepTiming& timing) {
  PipelineState state(job, listener);
  PACTORY_RETURN_IF_ERROR(LoadInputs(state));
  v1::TrainingConfig& training = *state.config.mutable_training();
  // One step before those that count warms up, and the one after them is the flight recorder's, which looks at every quantizer.
  training.set_steps(static_cast<int32_t>(timing.steps + 2));
  training.set_record_every(training.steps() + 1);
  training.set_checkpoint_every(training.steps() + 1);
  training.set_keep(v1::TrainingConfig::LAST);
  PACTORY_RETURN_IF_ERROR(CalibrateRanges(state));
  PACTORY_ASSIGN_OR_RETURN(const TimedTask timed, MakeTimedTask(state));
  StepTimes times;
  for (int64_t round = 0; round < timing.rounds; ++round) {
    if (timing.models != TimedModels::kQuantized) {
      PACTORY_ASSIGN_OR_RETURN(const std::unique_ptr<QuantizedModel> model, QuantizedModel::Create(state.graph, {}));
      model->To(state.device);
      PACTORY_ASSIGN_OR_RETURN(const double seconds, MeanStepSeconds(state, *model, timed));
      times.float_seconds.push_back(seconds);
    }
    if (timing.models != TimedModels::kFloat) {
      PACTORY_ASSIGN_OR_RETURN(const std::unique_ptr<QuantizedModel> model, MakeQuantizedModel(state, state.config));
      PACTORY_ASSIGN_OR_RETURN(const double seconds, MeanStepSeconds(state, *model, timed));
      times.quantized_seconds.push_back(seconds);
    }
  }
  return times;
}

}  // namespace pactory::quant
