#include "quant/training/training_loop.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "quant/guard.h"
#include "quant/training/schedule.h"

namespace pactory::quant {
namespace {

constexpr int64_t kMaxRollbacks = 5;
// Points of the alpha curves; more make a report heavy and no clearer.
constexpr int64_t kAlphaPoints = 200;
// Where the model's outputs are of no use, each part of the loss is of the order of 1.
constexpr double kNegligibleLoss = 0.05;
// Of the running statistics of BatchNormalization.
constexpr double kStatisticsMomentum = 0.1;
constexpr char kBestPrefix[] = "best/";
// The way back, in a checkpoint that is another.
constexpr char kGoodPrefix[] = "good/";

at::Tensor Scalar(double value) { return at::full({1}, value, at::kDouble); }
at::Tensor Whole(int64_t value) { return at::full({1}, value, at::kLong); }

double NegligibleLoss(const TrainingTask& task) {
  double weight = task.loss.task;
  for (const DistillationTarget& target : task.targets) weight += task.loss.distillation * target.weight;
  return kNegligibleLoss * weight;
}

// The size that a tensor's elements have. One of zeros, like a bias that is yet to learn, has the least unit of the paper (epsilon 2).
double RootMeanSquare(const at::Tensor& tensor) {
  constexpr double kUnitOfZeros = 1e-3;
  const double size = std::sqrt(tensor.detach().to(at::kDouble).square().mean().item<double>());
  return size > 0 ? size : kUnitOfZeros;
}

// Adds a group of these parameters, or with `relative` one for each in its own unit.
void AddGroups(QuantizedModel& model, const std::vector<std::string>& names, double weight_decay, bool relative,
               std::vector<ParameterGroup>& groups) {
  ParameterGroup group{.weight_decay = weight_decay};
  for (const std::string& name : names) {
    const auto found = model.parameters().find(name);
    if (found == model.parameters().end() || !found->second.is_floating_point()) continue;
    found->second = found->second.detach().requires_grad_(true);
    if (relative) {
      groups.push_back({.parameters = {{name, found->second}}, .unit = RootMeanSquare(found->second), .weight_decay = weight_decay});
    } else {
      group.parameters.emplace(name, found->second);
    }
  }
  if (!relative) groups.push_back(std::move(group));
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
    : model_(model),
      task_(std::move(task)),
      batches_(std::move(batches)),
      recorder_(model),
      loss_watch_(task_.config.exploding_loss_factor(), NegligibleLoss(task_)) {
  std::vector<ParameterGroup> parameters;
  AddGroups(model_, task_.weights, task_.config.weight_decay(), task_.config.relative_learning_rate(), parameters);
  AddGroups(model_, task_.biases, 0, task_.config.relative_learning_rate(), parameters);
  weight_optimizer_ = MakeOptimizer(WeightOptimizer(task_.config), std::move(parameters));
  std::vector<ParameterGroup> alphas;
  for (const auto& quantizer : model_.quantizers()) {
    history_.quantizer_names.push_back(quantizer->spec().id);
    for (const LearnedValue& value : quantizer->learned()) {
      const std::string name = LearnedName(*quantizer, value);
      const bool of_weight = quantizer->spec().target == QuantizerTarget::kWeight;
      const double rate = of_weight ? task_.weight_range_rate : task_.alpha.learning_rate_multiplier();
      alphas.push_back({.parameters = {{name, *value.tensor}},
                        .rate_multiplier = rate,
                        .unit = value.unit,
                        .l2 = value.penalized ? task_.alpha.l2() : 0,
                        .weight_decay = task_.alpha.weight_decay()});
      history_.alpha_names.push_back(name);
    }
  }
  held_.assign(history_.alpha_names.size(), false);
  alpha_optimizer_ = MakeOptimizer(RangeOptimizer(task_.config, task_.alpha), std::move(alphas));
  if (task_.config.ema_decay() > 0) average_ = std::make_unique<WeightAverage>(task_.config.ema_decay(), TrainedState());
}

std::map<std::string, at::Tensor> TrainingLoop::TrainedState() {
  std::map<std::string, at::Tensor> state;
  for (const auto& quantizer : model_.quantizers()) {
    for (const LearnedValue& value : quantizer->learned()) {
      state.emplace(absl::StrCat("range/", LearnedName(*quantizer, value)), value.tensor->detach());
    }
  }
  for (const auto* names : {&task_.weights, &task_.biases}) {
    for (const std::string& name : *names) {
      if (const auto found = model_.parameters().find(name); found != model_.parameters().end()) {
        state.emplace(absl::StrCat("parameter/", name), found->second.detach());
      }
    }
  }
  return state;
}

std::map<std::string, at::Tensor> TrainingLoop::ResultState() {
  std::map<std::string, at::Tensor> state = TrainedState();
  if (task_.batch_norms != nullptr) {
    for (const UnfoldedLayer& layer : task_.batch_norms->layers()) {
      for (const std::string* name : {&layer.mean, &layer.variance}) {
        state.emplace(absl::StrCat("statistic/", *name), model_.parameters().at(*name).detach());
      }
    }
  }
  for (const auto& quantizer : model_.quantizers()) {
    for (const auto& [name, tensor] : quantizer->State()) {
      state.emplace(absl::StrCat("quantizer/", quantizer->spec().id, "/", name), tensor.detach());
    }
  }
  return state;
}

std::map<std::string, at::Tensor> TrainingLoop::LiveState() {
  std::map<std::string, at::Tensor> state = ResultState();
  for (const auto& [name, tensor] : weight_optimizer_->State()) state.emplace(absl::StrCat("weights/", name), tensor);
  for (const auto& [name, tensor] : alpha_optimizer_->State()) state.emplace(absl::StrCat("alphas/", name), tensor);
  if (average_ != nullptr) {
    for (const auto& [name, tensor] : average_->State()) state.emplace(absl::StrCat("average/", name), tensor);
  }
  return state;
}

Checkpoint TrainingLoop::Snapshot() {
  Checkpoint snapshot;
  for (const auto& [name, tensor] : LiveState()) snapshot.emplace(name, tensor.to(at::kCPU).clone());
  snapshot["step"] = Whole(step_);
  snapshot["rate_factor"] = Scalar(rate_factor_);
  snapshot["config_steps"] = Whole(task_.config.steps());
  snapshot["seed"] = Whole(task_.config.seed());
  at::Tensor held = at::zeros({static_cast<int64_t>(held_.size())}, at::kLong);
  for (size_t i = 0; i < held_.size(); ++i) held[static_cast<int64_t>(i)].fill_(held_[i] ? 1 : 0);
  snapshot["held"] = held;
  // Tensors that nobody changes any more, so they need no copy.
  for (const auto& [name, tensor] : best_) snapshot.emplace(absl::StrCat(kBestPrefix, name), tensor);
  snapshot["best_metric"] = Scalar(best_metric_);
  snapshot["best_step"] = Whole(best_step_);
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
  for (const char* name : {"step", "rate_factor", "best_metric", "best_step"}) {
    const auto found = checkpoint.find(name);
    if (found == checkpoint.end() || found->second.numel() != 1) return refuse(name);
  }
  const int64_t step = checkpoint.at("step").item().toLong();
  if (step < 0 || step > task_.config.steps()) return refuse("its step");
  const auto held = checkpoint.find("held");
  if (held == checkpoint.end() || held->second.numel() != static_cast<int64_t>(held_.size())) return refuse("held");
  Checkpoint best;
  const std::map<std::string, at::Tensor> results = ResultState();
  for (const auto& [name, tensor] : results) {
    const auto found = checkpoint.find(absl::StrCat(kBestPrefix, name));
    if (found == checkpoint.end()) continue;
    if (found->second.sizes() != tensor.sizes()) return refuse(found->first);
    best.emplace(name, found->second);
  }
  if (!best.empty() && best.size() != results.size()) return refuse("its best");
  Checkpoint good;
  for (const auto& [name, tensor] : checkpoint) {
    if (absl::StartsWith(name, kGoodPrefix)) good.emplace(absl::StripPrefix(name, kGoodPrefix), tensor);
  }
  c10::NoGradGuard no_grad;
  for (auto& [name, tensor] : live) tensor.copy_(checkpoint.at(name));
  step_ = step;
  rate_factor_ = checkpoint.at("rate_factor").item().toDouble();
  best_ = std::move(best);
  best_metric_ = checkpoint.at("best_metric").item().toDouble();
  best_step_ = checkpoint.at("best_step").item().toLong();
  for (size_t i = 0; i < held_.size(); ++i) held_[i] = held->second[static_cast<int64_t>(i)].item().toLong() != 0;
  HoldRanges();
  TrainingHistory history;
  history.alpha_names = history_.alpha_names;
  history.quantizer_names = history_.quantizer_names;
  history.warnings = history_.warnings;
  history.Load(checkpoint);
  history_ = std::move(history);
  loss_watch_.Reset(history_.steps);
  last_good_ = good.empty() ? checkpoint : std::move(good);
  return absl::OkStatus();
}

void TrainingLoop::HoldRanges() {
  for (size_t i = 0; i < held_.size(); ++i) {
    if (held_[i]) alpha_optimizer_->Hold(history_.alpha_names[i]);
  }
}

absl::StatusOr<at::Tensor> TrainingLoop::TaskLoss(const std::vector<at::Tensor>& values, const TrainingBatch& batch) const {
  const v1::TrainingConfig& config = task_.config;
  if (config.task_loss() == v1::TrainingConfig::CROSS_ENTROPY) return CrossEntropy(values[0], batch.labels, config.label_smoothing());
  at::Tensor loss;
  for (size_t i = 0; i < task_.task_values.size(); ++i) {
    PACTORY_ASSIGN_OR_RETURN(const at::Tensor part,
                             TargetLoss(config.task_loss(), values[i], batch.targets.at(task_.task_values[i])));
    loss = loss.defined() ? loss + part : part;
  }
  return loss;
}

absl::StatusOr<at::Tensor> TrainingLoop::Loss(const TrainingBatch& batch) {
  std::vector<std::string> names;
  if (task_.loss.task > 0) names = task_.task_values;
  const int64_t task_count = static_cast<int64_t>(names.size());
  if (task_.loss.distillation > 0) {
    for (const DistillationTarget& target : task_.targets) names.push_back(target.student);
  }
  std::vector<at::Tensor> results;
  PACTORY_ASSIGN_OR_RETURN(results, model_.executor().RunAndFetch(batch.inputs, names));
  const auto first = results.end() - static_cast<int64_t>(names.size());
  at::Tensor loss;
  if (task_.loss.task > 0) {
    PACTORY_ASSIGN_OR_RETURN(const at::Tensor part, TaskLoss({first, first + task_count}, batch));
    loss = part * task_.loss.task;
  }
  if (task_.loss.distillation > 0) {
    PACTORY_ASSIGN_OR_RETURN(
        const at::Tensor part,
        DistillationLoss(task_.targets, task_.loss.temperature, {first + task_count, results.end()}, batch.teacher));
    loss = loss.defined() ? loss + part * task_.loss.distillation : part * task_.loss.distillation;
  }
  if (!loss.requires_grad()) {
    return absl::InvalidArgumentError("the loss must depend on a trained weight: no distilled tensor or output does");
  }
  return loss;
}

absl::StatusOr<StepRecord> TrainingLoop::Step(const TrainingHooks& hooks) {
  PACTORY_ASSIGN_OR_RETURN(TrainingBatch batch, batches_(step_));
  model_.SetMode(QuantizerMode::kTraining);
  weight_optimizer_->ZeroGradients();
  alpha_optimizer_->ZeroGradients();
  StepRecord record{.step = step_ + 1, .learning_rate = LearningRate(task_.config, step_) * rate_factor_};
  const bool recorded = record.step % task_.config.record_every() == 0 || record.step == task_.config.steps();
  if (recorded) recorder_.Start();
  const double frozen_from = task_.config.batch_norm_freeze_at() * static_cast<double>(task_.config.steps());
  if (task_.batch_norms != nullptr && static_cast<double>(step_) < frozen_from) task_.batch_norms->FollowBatches(kStatisticsMomentum);
  const absl::Status taken = GuardTorch("training step", [&]() -> absl::Status {
    PACTORY_ASSIGN_OR_RETURN(const at::Tensor loss, Loss(batch));
    record.loss = loss.item<double>();
    if (!std::isfinite(record.loss)) return absl::OkStatus();
    loss.backward();
    std::optional<QuantizerRecord> flight;
    if (recorded) flight = recorder_.Finish(record.step);
    record.gradient_norm = ClipGradients(*weight_optimizer_, task_.config.clip_gradient_norm());
    const double alpha_norm = ClipGradients(*alpha_optimizer_, task_.config.clip_gradient_norm());
    // One number says whether the step may be taken.
    if (!std::isfinite(alpha_norm)) record.gradient_norm = alpha_norm;
    if (!std::isfinite(record.gradient_norm)) return absl::OkStatus();
    weight_optimizer_->Step(record.learning_rate);
    alpha_optimizer_->Step(record.learning_rate);
    for (const auto& quantizer : model_.quantizers()) quantizer->Constrain();
    if (average_ != nullptr) average_->Update();
    if (!flight.has_value()) return absl::OkStatus();
    if (hooks.on_record) hooks.on_record(*flight);
    history_.quantizers.push_back(*std::move(flight));
    return absl::OkStatus();
  });
  recorder_.Stop();
  if (task_.batch_norms != nullptr) task_.batch_norms->Freeze();
  PACTORY_RETURN_IF_ERROR(taken);
  return record;
}

std::string TrainingLoop::FindFault(const StepRecord& record, std::string& faulty_range) const {
  if (!std::isfinite(record.loss) || !std::isfinite(record.gradient_norm)) return "loss or gradient was not finite";
  if (loss_watch_.exploding() && history_.rollbacks < kMaxRollbacks) return "loss exploded";
  size_t index = 0;
  for (const auto& quantizer : model_.quantizers()) {
    for (const LearnedValue& value : quantizer->learned()) {
      const std::string& name = history_.alpha_names[index];
      if (held_[index++]) continue;
      const std::string fault = RangeFault(value);
      if (fault.empty()) continue;
      faulty_range = name;
      return absl::StrCat("range of ", name, " ", fault);
    }
  }
  return "";
}

absl::Status TrainingLoop::RollBack(const StepRecord& record, const std::string& fault, const std::string& faulty_range) {
  const int64_t rollbacks = history_.rollbacks + 1;
  double factor = rate_factor_;
  std::vector<bool> held = held_;
  std::string answer;
  if (!faulty_range.empty()) {
    // A smaller rate would only let it go the same way later, and it is one value of many.
    for (size_t i = 0; i < held.size(); ++i) held[i] = held[i] || history_.alpha_names[i] == faulty_range;
    answer = "with that range left as it is";
  } else {
    factor /= 2;
    answer = absl::StrCat("at ", factor, " of the learning rate");
    if (factor < std::ldexp(1.0, -kMaxRollbacks)) {
      return absl::FailedPreconditionError(absl::StrCat(
          "training diverges although its rate was halved ", kMaxRollbacks,
          " times; lower training.learning_rate or start alpha from calibration: step=", record.step, " loss=", record.loss));
    }
  }
  PACTORY_RETURN_IF_ERROR(Restore(last_good_));
  history_.rollbacks = rollbacks;
  rate_factor_ = factor;
  held_ = std::move(held);
  HoldRanges();
  history_.warnings.push_back(absl::StrCat(fault, " at step ", record.step, "; training went back to step ", step_, " and goes on ", answer));
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

absl::Status TrainingLoop::Evaluate(const TrainingHooks& hooks) {
  if (!hooks.evaluate) return absl::OkStatus();
  model_.SetMode(QuantizerMode::kFrozen);
  if (average_ != nullptr) average_->Swap();
  const absl::StatusOr<double> metric = hooks.evaluate(step_);
  const bool is_best = metric.ok() && (best_.empty() || *metric >= best_metric_);
  if (is_best && task_.config.keep() != v1::TrainingConfig::LAST) {
    best_.clear();
    for (const auto& [name, tensor] : ResultState()) best_.emplace(name, tensor.to(at::kCPU).clone());
    best_metric_ = *metric;
    best_step_ = step_;
  }
  if (average_ != nullptr) average_->Swap();
  PACTORY_RETURN_IF_ERROR(metric.status());
  history_.evaluations.push_back({step_, *metric});
  return absl::OkStatus();
}

bool TrainingLoop::EndsEarly(const TrainingHooks& hooks) {
  if (step_ == task_.config.steps()) return false;
  const bool evaluated = !history_.evaluations.empty() && history_.evaluations.back().step == step_;
  if (evaluated && task_.enough_metric.has_value() && history_.evaluations.back().metric >= *task_.enough_metric) {
    history_.ended_early = absl::StrCat("the metric reached ", *task_.enough_metric, " after ", step_, " steps");
  } else if (task_.config.last_step() > 0 && step_ >= task_.config.last_step()) {
    history_.ended_early = absl::StrCat("training.last_step was reached after ", step_, " steps");
  } else if (const std::string reason = hooks.end_reason ? hooks.end_reason() : ""; !reason.empty()) {
    history_.ended_early = absl::StrCat(reason, " after ", step_, " steps");
  }
  return !history_.ended_early.empty();
}

void TrainingLoop::MaybeCheckpoint(const TrainingHooks& hooks) {
  // A checkpoint in the middle of an explosion would be no way back.
  if (loss_watch_.suspicious()) return;
  if (step_ % task_.config.checkpoint_every() == 0) {
    last_good_ = Snapshot();
    if (hooks.on_checkpoint) hooks.on_checkpoint(last_good_, step_);
    return;
  }
  if (!hooks.on_checkpoint || !hooks.checkpoint_due || !hooks.checkpoint_due()) return;
  // The way back stays where it is and goes along, so that a resumed training goes back to the same step.
  Checkpoint checkpoint = Snapshot();
  for (const auto& [name, tensor] : last_good_) checkpoint.emplace(absl::StrCat(kGoodPrefix, name), tensor);
  hooks.on_checkpoint(checkpoint, step_);
}

// With momentum 1 / i the statistics are the mean over the batches.
absl::Status TrainingLoop::ReestimateStatistics() {
  if (task_.batch_norms == nullptr) return absl::OkStatus();
  c10::NoGradGuard no_grad;
  for (int64_t i = 1; i <= task_.config.batch_norm_reestimation_batches(); ++i) {
    PACTORY_ASSIGN_OR_RETURN(const TrainingBatch batch, batches_(i - 1));
    task_.batch_norms->FollowBatches(1.0 / static_cast<double>(i));
    const absl::Status run = model_.executor().Run(batch.inputs).status();
    task_.batch_norms->Freeze();
    PACTORY_RETURN_IF_ERROR(run);
    history_.reestimated = true;
  }
  return absl::OkStatus();
}

// Leaves the averages, or the best evaluated values, in the model.
absl::Status TrainingLoop::Finish() {
  {
    c10::NoGradGuard no_grad;
    history_.kept_step = step_;
    if (average_ != nullptr) average_->Swap();
    const bool keep_best = task_.config.keep() == v1::TrainingConfig::BEST || !history_.ended_early.empty();
    if (keep_best && !best_.empty() && best_step_ != step_) {
      for (auto& [name, tensor] : ResultState()) tensor.copy_(best_.at(name));
      history_.kept_step = best_step_;
    }
  }
  model_.SetMode(QuantizerMode::kFrozen);
  weight_optimizer_->ZeroGradients();
  alpha_optimizer_->ZeroGradients();
  return ReestimateStatistics();
}

absl::StatusOr<TrainingHistory> TrainingLoop::Run(const TrainingHooks& hooks) {
  const v1::TrainingConfig& config = task_.config;
  const int64_t steps = config.steps();
  const int64_t alpha_interval = std::max<int64_t>(1, steps / kAlphaPoints);
  if (history_.alphas.empty()) RecordAlphas();
  if (last_good_.empty()) last_good_ = Snapshot();
  while (step_ < steps) {
    PACTORY_ASSIGN_OR_RETURN(const StepRecord record, Step(hooks));
    if (std::isfinite(record.loss)) loss_watch_.Add(record.loss);
    std::string faulty_range;
    if (const std::string fault = FindFault(record, faulty_range); !fault.empty()) {
      PACTORY_RETURN_IF_ERROR(RollBack(record, fault, faulty_range));
      continue;
    }
    ++step_;
    history_.steps.push_back(record);
    if (step_ % alpha_interval == 0 || step_ == steps) RecordAlphas();
    if (hooks.on_step) PACTORY_RETURN_IF_ERROR(hooks.on_step(record));
    if (step_ == steps) break;
    if (config.evaluate_every() > 0 && step_ % config.evaluate_every() == 0) PACTORY_RETURN_IF_ERROR(Evaluate(hooks));
    if (EndsEarly(hooks)) break;
    MaybeCheckpoint(hooks);
    if (hooks.may_go_on) PACTORY_RETURN_IF_ERROR(hooks.may_go_on());
  }
  if (history_.evaluations.empty() || history_.evaluations.back().step != step_) PACTORY_RETURN_IF_ERROR(Evaluate(hooks));
  PACTORY_RETURN_IF_ERROR(Finish());
  return history_;
}

}  // namespace pactory::quant
