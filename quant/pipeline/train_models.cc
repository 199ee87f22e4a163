#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "quant/data/data_order.h"
#include "quant/pipeline/choose_quantizers.h"
#include "quant/pipeline/make_quantized_model.h"
#include "quant/pipeline/metric_batch.h"
#include "quant/pipeline/stages.h"
#include "quant/training/training_loop.h"

namespace pactory::quant {
namespace {

// A checkpoint stays until the next but one is written.
constexpr int64_t kKeptCheckpoints = 3;
// Share of the training stage that its last evaluation takes in the progress.
constexpr double kStepsShare = 0.97;

// The samples of a step; the last samples of an epoch that fill no batch wait for the next shuffle.
std::vector<int64_t> IndicesOfStep(const Dataset& dataset, const v1::TrainingConfig& config, int64_t step) {
  const int64_t batch = std::min<int64_t>(config.batch_size(), dataset.size());
  const int64_t per_epoch = dataset.size() / batch;
  const std::vector<int64_t> order =
      ShuffledOrder(dataset.size(), static_cast<uint64_t>(config.seed()), step / per_epoch);
  const auto first = order.begin() + (step % per_epoch) * batch;
  return {first, first + batch};
}

BatchSource MakeBatches(PipelineState& state, const LossWeights& weights) {
  return [&state, weights](int64_t step) -> absl::StatusOr<TrainingBatch> {
    const std::vector<int64_t> indices = IndicesOfStep(*state.train, state.config.training(), step);
    PACTORY_ASSIGN_OR_RETURN(const Batch samples, state.train->Read(indices));
    TrainingBatch batch;
    batch.x = samples.x.to(state.device);
    if (weights.task > 0) batch.labels = samples.y.to(state.device);
    if (weights.distillation > 0) {
      PACTORY_ASSIGN_OR_RETURN(batch.teacher_logits, state.teacher->Logits(indices, batch.x));
    }
    return batch;
  };
}

TrainingTask MakeTask(const PipelineState& state, const LossWeights& weights) {
  TrainingTask task;
  task.config = state.config.training();
  task.alpha = state.config.activations().alpha();
  task.weight_range_rate = state.config.weights().learning_rate_multiplier();
  task.loss = weights;
  for (const LayerPlan& layer : state.plan.layers) {
    if (!layer.weight.empty()) task.weights.push_back(layer.weight);
    if (!layer.bias.empty()) task.biases.push_back(layer.bias);
  }
  return task;
}

// Where the loss reads logits in a graph whose values were quantized: what the softmax reads now.
std::string LogitsIn(const Graph& graph, const std::string& logits) {
  for (const Node& node : graph.nodes) {
    if (node.domain == "pactory" && node.inputs[0] == logits && !graph.IsOutput(logits)) return node.outputs[0];
  }
  return logits;
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

struct TrainedModel {
  std::unique_ptr<QuantizedModel> model;
  TrainingHistory history;
  at::Tensor answers;
  Accuracy accuracy;
};

// What is different between the job's own training and its baseline.
struct TrainingRole {
  const char* stage;
  const char* metric_prefix;
  v1::QuantizationConfig config;
  // Null: neither resumed nor checkpointed.
  const Checkpoint* resume = nullptr;
  std::function<absl::Status(const Checkpoint&, int64_t)> on_checkpoint;
};

absl::StatusOr<TrainedModel> Train(PipelineState& state, const TrainingRole& role) {
  TrainedModel result;
  PACTORY_ASSIGN_OR_RETURN(result.model, MakeQuantizedModel(state, role.config));
  PACTORY_RETURN_IF_ERROR(state.meter.Start(role.stage));
  const Labels labels = state.train->has_labels() ? Labels::kPresent : Labels::kAbsent;
  PACTORY_ASSIGN_OR_RETURN(const LossWeights weights, ReadLossWeights(state.config.training(), labels));
  if (weights.distillation > 0 && state.teacher == nullptr) {
    state.teacher = std::make_unique<Teacher>(*state.fp32, state.logits, state.train->size(), state.device);
  }
  TrainingTask task = MakeTask(state, weights);
  task.logits = LogitsIn(state.quantized_graph, state.logits);
  TrainingLoop loop(*result.model, std::move(task), MakeBatches(state, weights));
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
  TrainingHooks hooks;
  hooks.on_step = [&](const StepRecord& record) {
    ReportStep(state, *result.model, record, metrics);
    return state.meter.Advance(kStepsShare * static_cast<double>(record.step) / steps);
  };
  hooks.evaluate = [&]() -> absl::StatusOr<double> {
    const double now = kStepsShare * static_cast<double>(state.meter.details().step()) / steps;
    PACTORY_ASSIGN_OR_RETURN(const at::Tensor answers, AnswersOf(state, *result.model, now, now));
    PACTORY_ASSIGN_OR_RETURN(const Accuracy accuracy, MeasureMetric(state, answers));
    state.meter.details().set_metric(accuracy.share());
    metrics.Add(absl::StrCat("eval/", state.report.metric_name), state.meter.details().step(), accuracy.share());
    return accuracy.share();
  };
  hooks.on_checkpoint = role.on_checkpoint;
  PACTORY_ASSIGN_OR_RETURN(result.history, loop.Run(hooks));
  PACTORY_ASSIGN_OR_RETURN(result.answers, AnswersOf(state, *result.model, kStepsShare, 1));
  PACTORY_ASSIGN_OR_RETURN(result.accuracy, MeasureMetric(state, result.answers));
  result.history.evaluations.push_back({state.config.training().steps(), result.accuracy.share()});
  state.meter.details().set_metric(result.accuracy.share());
  metrics.Add(absl::StrCat("eval/", state.report.metric_name), state.config.training().steps(), result.accuracy.share());
  metrics.Flush();
  for (const std::string& warning : result.history.warnings) {
    state.report.warnings.push_back(absl::StrCat(role.stage, ": ", warning));
  }
  return result;
}

// What a resumed job does not measure again.
constexpr char kPlainResult[] = "result/qat_plain";

absl::Status WriteNumbered(PipelineState& state, Checkpoint checkpoint, int64_t step, int64_t number) {
  if (state.report.qat_plain.has_value()) {
    checkpoint[kPlainResult] = at::tensor({state.report.qat_plain->right, state.report.qat_plain->total}, at::kLong);
  }
  const std::string path = absl::StrCat(state.job.output_dir, "/checkpoint-", number % kKeptCheckpoints, ".ckpt");
  PACTORY_RETURN_IF_ERROR(WriteCheckpoint(checkpoint, path));
  state.listener.OnCheckpoint(path, step);
  return absl::OkStatus();
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
  TrainingRole role{.stage = "train_plain_qat", .metric_prefix = "plain_qat/", .config = PlainQatBaseline(state.config)};
  PACTORY_ASSIGN_OR_RETURN(TrainedModel trained, Train(state, role));
  state.report.qat_plain = trained.accuracy;
  state.report.plain_history = std::move(trained.history);
  return absl::OkStatus();
}

absl::Status TrainModel(PipelineState& state) {
  if (!state.config.training().enabled()) {
    PACTORY_ASSIGN_OR_RETURN(state.trained, MakeQuantizedModel(state, state.config));
    PACTORY_RETURN_IF_ERROR(state.meter.Start("evaluate_calibrated"));
    PACTORY_ASSIGN_OR_RETURN(state.trained_answers, AnswersOf(state, *state.trained, 0, 1));
    return absl::OkStatus();
  }
  int64_t written = 0;
  TrainingRole role{.stage = "train",
                    .metric_prefix = "",
                    .config = state.config,
                    .resume = state.resume.has_value() ? &*state.resume : nullptr,
                    .on_checkpoint = [&](const Checkpoint& checkpoint, int64_t step) {
                      return WriteNumbered(state, checkpoint, step, written++);
                    }};
  PACTORY_ASSIGN_OR_RETURN(TrainedModel trained, Train(state, role));
  state.report.qat = trained.accuracy;
  state.report.history = std::move(trained.history);
  state.trained = std::move(trained.model);
  state.trained_answers = std::move(trained.answers);
  return absl::OkStatus();
}

}  // namespace pactory::quant
