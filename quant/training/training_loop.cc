#include "quant/training/training_loop.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "quant/guard.h"
#include "quant/training/schedule.h"

namespace pactory::quant {
namespace {

constexpr int64_t kMaxRollbacks = 5;
// Points of the alpha curves; more make a report heavy and no clearer.
constexpr int64_t kAlphaPoints = 200;

at::Tensor Scalar(double value) { return at::full({1}, value, at::kDouble); }

ParameterGroup GroupOf(QuantizedModel& model, const std::vector<std::string>& names, double weight_decay) {
  ParameterGroup group{.weight_decay = weight_decay};
  for (const std::string& name : names) {
    const auto found = model.parameters().find(name);
    if (found == model.parameters().end() || !found->second.is_floating_point()) continue;
    found->second = found->second.detach().requires_grad_(true);
    group.parameters.emplace(name, found->second);
  }
  return group;
}

// Each optimizer's gradients are scaled by their own norm: alphas gather the gradient of whole tensors and would drown the
// weights in a common one.
double ClipGradients(Optimizer& optimizer, double limit) {
  const double norm = optimizer.GradientNorm();
  if (limit > 0 && norm > limit) optimizer.ScaleGradients(limit / norm);
  return norm;
}

}  // namespace

std::string LearnedName(const Quantizer& quantizer, const LearnedValue& value) {
  return value.name == "alpha" ? quantizer.spec().id : absl::StrCat(quantizer.spec().id, "/", value.name);
}

TrainingLoop::TrainingLoop(QuantizedModel& model, TrainingTask task, BatchSource batches)
    : model_(model), task_(std::move(task)), batches_(std::move(batches)) {
  weight_optimizer_ = MakeOptimizer(
      task_.config, {GroupOf(model_, task_.weights, task_.config.weight_decay()), GroupOf(model_, task_.biases, 0)});
  std::vector<ParameterGroup> alphas;
  for (const auto& quantizer : model_.quantizers()) {
    for (const LearnedValue& value : quantizer->learned()) {
      const std::string name = LearnedName(*quantizer, value);
      const bool of_weight = quantizer->spec().target == QuantizerTarget::kWeight;
      const double rate = of_weight ? task_.weight_range_rate : task_.alpha.learning_rate_multiplier();
      alphas.push_back({.parameters = {{name, *value.tensor}},
                        .rate_multiplier = rate * value.unit,
                        .l2 = value.penalized ? task_.alpha.l2() : 0});
      history_.alpha_names.push_back(name);
    }
  }
  alpha_optimizer_ = MakeOptimizer(task_.config, std::move(alphas));
}

std::map<std::string, at::Tensor> TrainingLoop::LiveState() {
  std::map<std::string, at::Tensor> state;
  for (const auto* names : {&task_.weights, &task_.biases}) {
    for (const std::string& name : *names) {
      if (const auto found = model_.parameters().find(name); found != model_.parameters().end()) {
        state.emplace(absl::StrCat("parameter/", name), found->second.detach());
      }
    }
  }
  for (const auto& quantizer : model_.quantizers()) {
    for (const auto& [name, tensor] : quantizer->State()) {
      state.emplace(absl::StrCat("quantizer/", quantizer->spec().id, "/", name), tensor.detach());
    }
  }
  for (const auto& [name, tensor] : weight_optimizer_->State()) state.emplace(absl::StrCat("weights/", name), tensor);
  for (const auto& [name, tensor] : alpha_optimizer_->State()) state.emplace(absl::StrCat("alphas/", name), tensor);
  return state;
}

Checkpoint TrainingLoop::Snapshot() {
  Checkpoint snapshot;
  for (const auto& [name, tensor] : LiveState()) snapshot.emplace(name, tensor.to(at::kCPU).clone());
  snapshot["step"] = at::full({1}, step_, at::kLong);
  snapshot["rate_factor"] = Scalar(rate_factor_);
  snapshot["config_steps"] = at::full({1}, int64_t{task_.config.steps()}, at::kLong);
  snapshot["seed"] = at::full({1}, task_.config.seed(), at::kLong);
  history_.Save(snapshot);
  return snapshot;
}

absl::Status TrainingLoop::Restore(const Checkpoint& checkpoint) {
  const auto refuse = [](absl::string_view what) {
    return absl::FailedPreconditionError(
        absl::StrCat("checkpoint must be of the same model and config, it differs in ", what));
  };
  std::map<std::string, at::Tensor> live = LiveState();
  for (const auto& [name, tensor] : live) {
    const auto found = checkpoint.find(name);
    if (found == checkpoint.end() || found->second.sizes() != tensor.sizes()) return refuse(name);
  }
  const std::pair<const char*, int64_t> same[] = {{"config_steps", task_.config.steps()}, {"seed", task_.config.seed()}};
  for (const auto& [name, value] : same) {
    const auto found = checkpoint.find(name);
    if (found == checkpoint.end() || found->second.numel() != 1 || found->second.item().toLong() != value) {
      return refuse(name);
    }
  }
  const auto step = checkpoint.find("step");
  const auto factor = checkpoint.find("rate_factor");
  if (step == checkpoint.end() || factor == checkpoint.end() || step->second.numel() != 1 ||
      factor->second.numel() != 1 || step->second.item().toLong() < 0 ||
      step->second.item().toLong() > task_.config.steps()) {
    return refuse("its step");
  }
  c10::NoGradGuard no_grad;
  for (auto& [name, tensor] : live) tensor.copy_(checkpoint.at(name));
  step_ = step->second.item().toLong();
  rate_factor_ = factor->second.item().toDouble();
  TrainingHistory history;
  history.alpha_names = history_.alpha_names;
  history.warnings = history_.warnings;
  history.Load(checkpoint);
  history_ = std::move(history);
  return absl::OkStatus();
}

absl::StatusOr<StepRecord> TrainingLoop::Step() {
  PACTORY_ASSIGN_OR_RETURN(TrainingBatch batch, batches_(step_));
  weight_optimizer_->ZeroGradients();
  alpha_optimizer_->ZeroGradients();
  StepRecord record{.step = step_ + 1, .learning_rate = LearningRate(task_.config, step_) * rate_factor_};
  std::vector<at::Tensor> outputs;
  PACTORY_ASSIGN_OR_RETURN(outputs, model_.executor().RunAndFetch({batch.x}, {task_.logits}));
  PACTORY_RETURN_IF_ERROR(GuardTorch("training step", [&] {
    const at::Tensor loss = TrainingLoss(task_.loss, outputs.back(), batch.labels, batch.teacher_logits);
    record.loss = loss.item<double>();
    if (!std::isfinite(record.loss)) return absl::OkStatus();
    loss.backward();
    record.gradient_norm = ClipGradients(*weight_optimizer_, task_.config.clip_gradient_norm());
    const double alpha_norm = ClipGradients(*alpha_optimizer_, task_.config.clip_gradient_norm());
    // One number says whether the step may be taken.
    if (!std::isfinite(alpha_norm)) record.gradient_norm = alpha_norm;
    if (!std::isfinite(record.gradient_norm)) return absl::OkStatus();
    weight_optimizer_->Step(record.learning_rate);
    alpha_optimizer_->Step(record.learning_rate);
    for (const auto& quantizer : model_.quantizers()) quantizer->Constrain();
    return absl::OkStatus();
  }));
  return record;
}

absl::Status TrainingLoop::RollBack(double loss) {
  const int64_t failed = step_ + 1;
  const int64_t rollbacks = history_.rollbacks + 1;
  const double factor = rate_factor_ / 2;
  if (rollbacks > kMaxRollbacks) {
    return absl::FailedPreconditionError(
        absl::StrCat("training diverges although its rate was halved ", kMaxRollbacks,
                     " times; lower training.learning_rate or start alpha from calibration: step=", failed, " loss=", loss));
  }
  PACTORY_RETURN_IF_ERROR(Restore(last_good_));
  history_.rollbacks = rollbacks;
  rate_factor_ = factor;
  history_.warnings.push_back(absl::StrCat("loss or gradient was not finite at step ", failed, "; training went back to step ",
                                           step_, " and goes on at ", rate_factor_, " of the learning rate"));
  return absl::OkStatus();
}

void TrainingLoop::RecordAlphas() {
  AlphaRecord record;
  record.step = step_;
  for (const auto& quantizer : model_.quantizers()) {
    for (const LearnedValue& value : quantizer->learned()) record.values.push_back(value.Mean());
  }
  if (!record.values.empty()) history_.alphas.push_back(std::move(record));
}

absl::StatusOr<TrainingHistory> TrainingLoop::Run(const TrainingHooks& hooks) {
  const v1::TrainingConfig& config = task_.config;
  const int64_t steps = config.steps();
  const int64_t alpha_interval = std::max<int64_t>(1, steps / kAlphaPoints);
  if (history_.alphas.empty()) RecordAlphas();
  last_good_ = Snapshot();
  while (step_ < steps) {
    model_.SetMode(QuantizerMode::kTraining);
    PACTORY_ASSIGN_OR_RETURN(const StepRecord record, Step());
    if (!std::isfinite(record.loss) || !std::isfinite(record.gradient_norm)) {
      PACTORY_RETURN_IF_ERROR(RollBack(record.loss));
      continue;
    }
    ++step_;
    history_.steps.push_back(record);
    if (step_ % alpha_interval == 0 || step_ == steps) RecordAlphas();
    if (hooks.on_step) PACTORY_RETURN_IF_ERROR(hooks.on_step(record));
    if (step_ == steps) break;
    if (hooks.evaluate && config.evaluate_every() > 0 && step_ % config.evaluate_every() == 0) {
      model_.SetMode(QuantizerMode::kFrozen);
      PACTORY_ASSIGN_OR_RETURN(const double metric, hooks.evaluate());
      history_.evaluations.push_back({step_, metric});
    }
    if (step_ % config.checkpoint_every() == 0) {
      last_good_ = Snapshot();
      if (hooks.on_checkpoint) PACTORY_RETURN_IF_ERROR(hooks.on_checkpoint(last_good_, step_));
    }
  }
  model_.SetMode(QuantizerMode::kFrozen);
  weight_optimizer_->ZeroGradients();
  alpha_optimizer_->ZeroGradients();
  return history_;
}

}  // namespace pactory::quant
