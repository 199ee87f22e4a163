#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "quant/guard.h"
#include "quant/passes/unfold_batch_norm.h"
#include "quant/pipeline/choose_quantizers.h"
#include "quant/pipeline/make_quantized_model.h"
#include "quant/pipeline/metric_batch.h"
#include "quant/pipeline/stages.h"
#include "quant/pipeline/training_end.h"
#include "quant/pipeline/training_task.h"
#include "quant/training/batch_norm.h"
#include "quant/training/training_loop.h"

namespace pactory::quant {
namespace {

// A checkpoint stays until the next but one is written.
constexpr int64_t kKeptCheckpoints = 3;
// Longer than this a training does not go on without a checkpoint.
constexpr std::chrono::minutes kLongestUnsaved(2);
// Share of the training stage that its last evaluation takes in the progress.
constexpr double kStepsShare = 0.97;

// Trains what a layer's folded weight and bias are made of instead of these.
void TrainUnfolded(BatchNormTraining& batch_norms, TrainingTask& task) {
  task.batch_norms = &batch_norms;
  for (const UnfoldedLayer& layer : batch_norms.layers()) {
    std::replace(task.weights.begin(), task.weights.end(), layer.weight, layer.raw_weight);
    std::replace(task.biases.begin(), task.biases.end(), layer.bias, layer.beta);
    task.biases.push_back(layer.gamma);
  }
}

// The model as it is exported: with the statistics folded in, and none of the nodes that training alone needs.
absl::StatusOr<std::unique_ptr<QuantizedModel>> Folded(const PipelineState& state, const std::vector<QuantizerSpec>& specs,
                                                       QuantizedModel& trained, const BatchNormTraining& batch_norms) {
  PACTORY_ASSIGN_OR_RETURN(std::unique_ptr<QuantizedModel> model, QuantizedModel::Create(state.quantized_graph, specs));
  model->To(state.device);
  PACTORY_RETURN_IF_ERROR(GuardTorch("batch norm", [&] {
    c10::NoGradGuard no_grad;
    std::map<std::string, at::Tensor> values = batch_norms.FoldedParameters(trained.parameters());
    for (const auto& [name, tensor] : trained.parameters()) values.emplace(name, tensor);
    for (auto& [name, tensor] : model->parameters()) tensor.copy_(values.at(name));
    for (const auto& quantizer : trained.quantizers()) {
      std::map<std::string, at::Tensor> state_of = model->Find(quantizer->spec().id)->State();
      for (const auto& [name, tensor] : quantizer->State()) state_of.at(name).detach().copy_(tensor.detach());
    }
    return absl::OkStatus();
  }));
  return model;
}

void ReportStep(PipelineState& state, QuantizedModel& model, const StepRecord& record, MetricBatch& metrics) {
  v1::Progress& details = state.meter.details();
  details.set_step(record.step);
  details.set_total_steps(state.config.training().steps());
  details.set_loss(record.loss);
  double least = 0, largest = 0;
  const bool tell_alphas = metrics.TellsDetails(record.step);
  for (const auto& quantizer : model.quantizers()) {
    for (const LearnedValue& value : quantizer->learned()) {
      const double alpha = value.Mean();
      if (tell_alphas) metrics.Add(absl::StrCat("alpha/", LearnedName(*quantizer, value)), record.step, alpha);
      // Neither the lower end of an affine range nor a weight's range is a clipping value to compare with others.
      if (value.name == "low" || value.name == "range") continue;
      least = least == 0 ? alpha : std::min(least, alpha);
      largest = std::max(largest, alpha);
    }
  }
  details.set_alpha_min(least);
  details.set_alpha_max(largest);
  metrics.Add("train/loss", record.step, record.loss);
  metrics.Add("train/learning_rate", record.step, record.learning_rate);
  metrics.FlushSometimes();
}

void ReportQuantizers(const QuantizedModel& model, const QuantizerRecord& record, MetricBatch& metrics) {
  for (size_t i = 0; i < model.quantizers().size(); ++i) {
    const std::string& id = model.quantizers()[i]->spec().id;
    metrics.Add(absl::StrCat("scale/", id), record.step, record.scales[i]);
    metrics.Add(absl::StrCat("clipped_share/", id), record.step, record.clipped_shares[i]);
    metrics.Add(absl::StrCat("gradient_norm/", id), record.step, record.gradient_norms[i]);
  }
}

struct TrainedModel {
  std::unique_ptr<QuantizedModel> model;
  TrainingHistory history;
  at::Tensor answers;
  Accuracy accuracy;
  std::optional<double> sqnr_db;
};

// What is different between the job's own training and its baseline.
struct TrainingRole {
  const char* stage;
  const char* metric_prefix;
  v1::QuantizationConfig config;
  // Null: neither resumed nor checkpointed.
  const Checkpoint* resume = nullptr;
  std::function<void(const Checkpoint&, int64_t)> on_checkpoint;
  // Of the time until the deadline.
  double share_of_time = 1;
};

absl::StatusOr<TrainedModel> Train(PipelineState& state, const TrainingRole& role) {
  TrainedModel result;
  Graph graph = state.quantized_graph;
  std::vector<UnfoldedLayer> unfolded;
  if (state.config.training().batch_norm() == v1::TrainingConfig::TRAINED) {
    PACTORY_ASSIGN_OR_RETURN(unfolded, UnfoldBatchNorms(graph));
    if (unfolded.empty()) state.report.warnings.push_back("training.batch_norm: TRAINED finds no BatchNormalization behind a quantized layer");
  }
  BatchNormTraining batch_norms(std::move(unfolded));
  // Of the unfolded model, and of the folded one that it becomes.
  std::vector<QuantizerSpec> specs;
  if (batch_norms.layers().empty()) {
    PACTORY_ASSIGN_OR_RETURN(result.model, MakeQuantizedModel(state, role.config));
  } else {
    PACTORY_ASSIGN_OR_RETURN(specs, ChooseQuantizers(state.plan, state.histograms, role.config, state.thresholds));
    PACTORY_ASSIGN_OR_RETURN(result.model,
                             QuantizedModel::Create(graph, specs, [&](const Node& node) { return batch_norms.Bind(node); }));
    result.model->To(state.device);
  }
  PACTORY_RETURN_IF_ERROR(state.meter.Start(role.stage));
  PACTORY_ASSIGN_OR_RETURN(const LossWeights weights, ReadLossWeights(state.config.training(), LabelsOf(state)));
  TrainingTask task = MakeTrainingTask(state, weights);
  if (!batch_norms.layers().empty()) TrainUnfolded(batch_norms, task);
  BatchSource batches = MakeTrainingBatches(state, weights, task.targets);
  TrainingLoop loop(*result.model, std::move(task), std::move(batches));
  if (role.resume != nullptr) {
    const absl::Status restored = loop.Restore(*role.resume);
    if (!restored.ok()) {
      state.report.warnings.push_back(absl::StrCat("training starts anew: ", restored.message()));
    } else {
      state.report.resumed_from_step = role.resume->at("step").item().toLong();
    }
  }
  const double steps = static_cast<double>(state.config.training().steps());
  MetricBatch metrics(state.listener, role.metric_prefix, state.config.training().steps());
  int64_t answered_step = -1;
  TrainingHooks hooks;
  hooks.on_step = [&](const StepRecord& record) {
    ReportStep(state, *result.model, record, metrics);
    state.meter.Show(kStepsShare * static_cast<double>(record.step) / steps);
    return absl::OkStatus();
  };
  hooks.on_record = [&](const QuantizerRecord& record) { ReportQuantizers(*result.model, record, metrics); };
  const auto evaluate = [&](double from, double to) -> absl::Status {
    KeptOutputs outputs;
    PACTORY_ASSIGN_OR_RETURN(result.answers, AnswersOf(state, *result.model, from, to, &outputs));
    result.sqnr_db = SqnrDb(state.fp32_outputs, outputs);
    PACTORY_ASSIGN_OR_RETURN(result.accuracy, MeasureMetric(state, result.answers));
    state.meter.details().set_metric(result.accuracy.share());
    return absl::OkStatus();
  };
  hooks.evaluate = [&](int64_t step) -> absl::StatusOr<double> {
    const double now = kStepsShare * static_cast<double>(step) / steps;
    PACTORY_RETURN_IF_ERROR(evaluate(now, now));
    answered_step = step;
    metrics.Add(absl::StrCat("eval/", state.report.metric_name), step, result.accuracy.share());
    return result.accuracy.share();
  };
  auto last_checkpoint = std::chrono::steady_clock::now();
  if (role.on_checkpoint) {
    hooks.on_checkpoint = [&](const Checkpoint& checkpoint, int64_t step) {
      role.on_checkpoint(checkpoint, step);
      last_checkpoint = std::chrono::steady_clock::now();
    };
    hooks.checkpoint_due = [&] {
      // Whoever goes on with a job that has to end here starts from where it was.
      return state.listener.StopRequested() || std::chrono::steady_clock::now() - last_checkpoint >= kLongestUnsaved;
    };
  }
  hooks.may_go_on = [&] { return state.meter.CheckStop(); };
  const absl::Time last_time = absl::Now() + (LastTrainingTime(state) - absl::Now()) * role.share_of_time;
  hooks.end_reason = [&state, last_time]() -> std::string {
    const int32_t seconds = state.config.training().max_seconds();
    if (seconds > 0 && state.meter.StageSeconds() >= seconds) return "its time (training.max_seconds) was over";
    return TrainingEndReason(state, last_time);
  };
  PACTORY_ASSIGN_OR_RETURN(result.history, loop.Run(hooks));
  if (!batch_norms.layers().empty()) {
    PACTORY_ASSIGN_OR_RETURN(result.model, Folded(state, specs, *result.model, batch_norms));
  }
  if (answered_step != result.history.kept_step || result.history.reestimated) PACTORY_RETURN_IF_ERROR(evaluate(kStepsShare, 1));
  metrics.Flush();
  if (!result.history.ended_early.empty()) {
    state.report.warnings.push_back(absl::StrCat(role.stage, ": training ended early: ", result.history.ended_early));
  }
  if (result.history.kept_step < result.history.steps.back().step) {
    state.report.warnings.push_back(absl::StrCat(role.stage, ": the model is that of step ", result.history.kept_step,
                                                 ", which was the best of ", result.history.evaluations.size(), " evaluated"));
  }
  for (const std::string& warning : result.history.warnings) {
    state.report.warnings.push_back(absl::StrCat(role.stage, ": ", warning));
  }
  return result;
}

// What a resumed job does not measure again.
constexpr char kPlainResult[] = "result/qat_plain";
// The rung of a contract that a checkpoint belongs to.
constexpr char kRung[] = "contract/rung";

bool BelongsToRung(const PipelineState& state) {
  const auto rung = state.resume->find(kRung);
  const bool known = rung != state.resume->end() && rung->second.scalar_type() == at::kLong && rung->second.numel() == 1;
  return (known ? rung->second.item().toLong() : -1) == state.rung;
}

// The checkpoint files of one training.
struct CheckpointFiles {
  int64_t written = 0;
  int64_t missed = 0;
  // Why the last one is missing.
  absl::Status trouble;
};

// A training is worth more than its checkpoint: one that can't be written is counted, and the next is tried at its time.
void WriteNumbered(PipelineState& state, Checkpoint checkpoint, int64_t step, CheckpointFiles& files) {
  if (state.report.qat_plain.has_value()) {
    checkpoint[kPlainResult] = at::tensor({state.report.qat_plain->right, state.report.qat_plain->total}, at::kLong);
  }
  if (state.rung >= 0) checkpoint[kRung] = at::tensor({state.rung}, at::kLong);
  const std::string path = absl::StrCat(state.job.output_dir, "/checkpoint-", files.written % kKeptCheckpoints, ".ckpt");
  if (absl::Status written = WriteCheckpoint(checkpoint, path); !written.ok()) {
    ++files.missed;
    files.trouble = std::move(written);
    return;
  }
  ++files.written;
  state.listener.OnCheckpoint(path, step);
}

}  // namespace

absl::Status TrainPlainBaseline(PipelineState& state) {
  if (!state.config.training().enabled() || !state.config.training().plain_qat_baseline()) return absl::OkStatus();
  if (state.resume.has_value()) {
    const auto known = state.resume->find(kPlainResult);
    if (known != state.resume->end() && known->second.scalar_type() == at::kLong && known->second.numel() == 2) {
      state.report.qat_plain = Accuracy{known->second[0].item<int64_t>(), known->second[1].item<int64_t>()};
      return absl::OkStatus();
    }
  }
  // The other half is the job's own training's.
  TrainingRole role{
      .stage = "train_plain_qat", .metric_prefix = "plain_qat/", .config = PlainQatBaseline(state.config), .share_of_time = 0.5};
  PACTORY_ASSIGN_OR_RETURN(TrainedModel trained, Train(state, role));
  state.report.qat_plain = trained.accuracy;
  state.answers["qat_plain"] = trained.answers;
  state.report.plain_history = std::move(trained.history);
  return absl::OkStatus();
}

absl::Status TrainModel(PipelineState& state) {
  if (!state.config.training().enabled()) {
    PACTORY_ASSIGN_OR_RETURN(state.trained, MakeQuantizedModel(state, state.config));
    PACTORY_RETURN_IF_ERROR(state.meter.Start("evaluate_calibrated"));
    KeptOutputs outputs;
    PACTORY_ASSIGN_OR_RETURN(state.trained_answers, AnswersOf(state, *state.trained, 0, 1, &outputs));
    state.report.trained_sqnr_db = SqnrDb(state.fp32_outputs, outputs);
    return absl::OkStatus();
  }
  CheckpointFiles files;
  TrainingRole role{.stage = "train",
                    .metric_prefix = "",
                    .config = state.config,
                    .resume = state.resume.has_value() && BelongsToRung(state) ? &*state.resume : nullptr,
                    .on_checkpoint = [&](const Checkpoint& checkpoint, int64_t step) { WriteNumbered(state, checkpoint, step, files); }};
  PACTORY_ASSIGN_OR_RETURN(TrainedModel trained, Train(state, role));
  if (files.missed > 0) {
    state.report.warnings.push_back(absl::StrCat("train: ", files.missed, " of ", files.missed + files.written,
                                                 " checkpoints were not written: ", files.trouble.message()));
  }
  state.report.qat = trained.accuracy;
  state.report.trained_sqnr_db = trained.sqnr_db;
  state.report.history = std::move(trained.history);
  state.trained = std::move(trained.model);
  state.trained_answers = std::move(trained.answers);
  return absl::OkStatus();
}

}  // namespace pactory::quant
