#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <filesystem>
#include <numeric>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "config/config_rules.h"
#include "npz/preprocess_inputs.h"
#include "quant/data/augment.h"
#include "quant/data/signature.h"
#include "quant/evaluation/region_rows.h"
#include "quant/onnx/import.h"
#include "quant/passes/pass_runner.h"
#include "quant/pipeline/because.h"
#include "quant/pipeline/device.h"
#include "quant/pipeline/stages.h"
#include "quant/training/loss.h"

namespace pactory::quant {
namespace {

using v1::EvaluationConfig;

absl::Status LoadConfig(PipelineState& state) {
  state.config = state.job.config;
  FillDefaults(state.config);
  // The field's own reason is for the API; a job's error names the config.
  const absl::Status valid = ValidateConfig(state.config);
  if (!valid.ok()) return WithReason(valid, "BAD_CONFIG");
  return absl::OkStatus();
}

absl::Status LoadModel(PipelineState& state) {
  PACTORY_ASSIGN_OR_RETURN(state.graph, ImportOnnxFile(state.job.model_path));
  PACTORY_RETURN_IF_ERROR(PrepareGraph(state.graph).status());
  PACTORY_RETURN_IF_ERROR(RunPasses(ConfiguredPasses(state.config), state.graph).status());
  if (state.graph.inputs.empty()) return absl::InvalidArgumentError("model must have an input");
  if (state.graph.outputs.empty()) return absl::InvalidArgumentError("model must have an output");
  PACTORY_ASSIGN_OR_RETURN(state.fp32, Executor::Create(state.graph));
  state.fp32->To(state.device);
  PACTORY_ASSIGN_OR_RETURN(state.model_sha256, Sha256HexOfFile(state.job.model_path));
  std::error_code error;
  state.report.fp32_bytes = static_cast<int64_t>(std::filesystem::file_size(state.job.model_path, error));
  return absl::OkStatus();
}

absl::StatusOr<int64_t> FixedBatchOf(const Graph& graph) {
  const ValueInfo* fixed = nullptr;
  for (const ValueInfo& input : graph.inputs) {
    if (input.dims.empty() || input.dims[0] < 0) continue;
    if (fixed != nullptr && fixed->dims[0] != input.dims[0]) {
      return absl::InvalidArgumentError(absl::StrCat("model's inputs must have one batch, on their first axis: ", fixed->name, "=",
                                                     fixed->dims[0], " ", input.name, "=", input.dims[0]));
    }
    fixed = &input;
  }
  return fixed == nullptr ? -1 : fixed->dims[0];
}

// A model exported with a fixed batch takes no other.
absl::Status TakeFixedBatch(PipelineState& state) {
  PACTORY_ASSIGN_OR_RETURN(state.fixed_batch, FixedBatchOf(state.graph));
  if (state.fixed_batch < 0) return absl::OkStatus();
  const int32_t batch = static_cast<int32_t>(state.fixed_batch);
  state.report.warnings.push_back(absl::StrCat("the model's batch is fixed at ", batch, "; batch sizes were set to it"));
  state.config.mutable_training()->set_batch_size(batch);
  state.config.mutable_evaluation()->set_batch_size(batch);
  if (state.eval->size() % batch == 0 && state.train->size() >= batch) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("number of samples must be a multiple of the model's fixed batch; export the model with a free first "
                   "axis: batch=", batch, " eval samples=", state.eval->size(), " train samples=", state.train->size()));
}

absl::Status LoadData(PipelineState& state) {
  const v1::PreprocessConfig& preprocess = state.config.preprocess();
  PACTORY_ASSIGN_OR_RETURN(const v1::Model signature, SignatureOf(state.graph));
  PACTORY_ASSIGN_OR_RETURN(const std::set<std::string> preprocessed, PreprocessedInputs(preprocess, signature));
  PACTORY_ASSIGN_OR_RETURN(state.augmented_inputs, AugmentedInputs(preprocess, state.graph, preprocessed));
  const std::vector<std::string> targets = TargetNames(state.config.training(), state.graph);
  PACTORY_ASSIGN_OR_RETURN(state.train, OpenDataset(state.job.train_data_path, preprocess, state.graph, targets));
  std::vector<std::string> eval_targets = targets;
  if (state.config.evaluation().metric() == EvaluationConfig::MASK_IOU) eval_targets = {state.graph.outputs[0].name};
  PACTORY_ASSIGN_OR_RETURN(state.eval, OpenDataset(state.job.eval_data_path, preprocess, state.graph, eval_targets));
  PACTORY_ASSIGN_OR_RETURN(state.train_sha256, Sha256HexOfFile(state.job.train_data_path));
  PACTORY_ASSIGN_OR_RETURN(state.eval_sha256, Sha256HexOfFile(state.job.eval_data_path));
  state.report.eval_samples = state.eval->size();
  return TakeFixedBatch(state);
}

// A mask stays as it is, so what moves the image would part them.
absl::Status CheckMaskAugmentation(const PipelineState& state) {
  if (!MovesPixels(state.config.preprocess().augmentation()) || state.config.training().task_loss() != v1::TrainingConfig::DICE) return absl::OkStatus();
  return InvalidField("preprocess.augmentation", "must leave pixels where they are with training.task_loss DICE, whose masks stay; set "
                                                 "horizontal_flip, vertical_flip, crop_padding and zoom to 0 and min_crop_area to 1");
}

absl::StatusOr<at::Tensor> ReadMasks(const PipelineState& state) {
  if (state.eval->targets().empty()) {
    return InvalidField("evaluation.metric", "MASK_IOU needs a mask for each sample of the evaluation data (.mask.png files beside images, "
                                             "or an array named as the first output); set it to IOU");
  }
  constexpr int64_t kPart = 16;
  std::vector<at::Tensor> masks;
  for (int64_t begin = 0; begin < state.eval->size(); begin += kPart) {
    std::vector<int64_t> indices(std::min(kPart, state.eval->size() - begin));
    std::iota(indices.begin(), indices.end(), begin);
    PACTORY_ASSIGN_OR_RETURN(const Batch batch, state.eval->Read(indices));
    masks.push_back(batch.targets.begin()->second > 0.5);
  }
  return at::cat(masks);
}

// What answers are compared with; undefined where that is FP32's.
absl::Status ReadExpected(PipelineState& state) {
  const EvaluationConfig& evaluation = state.config.evaluation();
  switch (evaluation.metric()) {
    case EvaluationConfig::MASK_IOU: {
      PACTORY_ASSIGN_OR_RETURN(state.expected, ReadMasks(state));
      return absl::OkStatus();
    }
    case EvaluationConfig::TEXT_HMEAN:
    case EvaluationConfig::COCO_MAP: {
      absl::StatusOr<SampleRegions> regions = state.eval->ReadRegions();
      if (!regions.ok()) {
        const std::string& metric = EvaluationConfig::Metric_Name(evaluation.metric());
        return WithReason(Prefixed(regions.status(), absl::StrCat("evaluation.metric ", metric, ": ", state.job.eval_data_path, ": ")),
                          "BAD_DATA");
      }
      const bool boxes = evaluation.metric() == EvaluationConfig::COCO_MAP;
      const auto& ids = evaluation.boxes().category_ids();
      PACTORY_ASSIGN_OR_RETURN(state.expected, ExpectedRows(regions->samples, boxes ? std::vector<int64_t>(ids.begin(), ids.end())
                                                                                    : std::vector<int64_t>()));
      state.metric = Metric(evaluation, {.height = regions->height, .width = regions->width});
      return absl::OkStatus();
    }
    default:
      if (state.metric.by_labels()) state.expected = state.eval->labels();
      return absl::OkStatus();
  }
}

absl::Status ChooseMetric(PipelineState& state) {
  auto* evaluation = state.config.mutable_evaluation();
  Reference reference = Reference::kNothing;
  if (state.eval->has_labels()) reference = state.eval->has_classes() ? Reference::kClasses : Reference::kSequences;
  if (evaluation->metric() == EvaluationConfig::METRIC_UNSPECIFIED) {
    evaluation->set_metric(DefaultMetric(state.graph, reference));
  }
  if (evaluation->metric() == EvaluationConfig::TOP1 && reference != Reference::kClasses) {
    return InvalidField("evaluation.metric", "TOP1 needs a label for each sample of the evaluation data; set it to AGREEMENT");
  }
  const bool reads_lines = evaluation->metric() == EvaluationConfig::CTC_EXACT || evaluation->metric() == EvaluationConfig::CTC_CHARACTERS;
  if (reads_lines && reference != Reference::kSequences) {
    return InvalidField("evaluation.metric",
                        absl::StrCat(EvaluationConfig::Metric_Name(evaluation->metric()),
                                     " needs a sequence of labels for each sample of the evaluation data (`y` of N x L, or .txt files "
                                     "beside images and preprocess.characters); set it to CTC_AGREEMENT"));
  }
  state.metric = Metric(*evaluation);
  PACTORY_RETURN_IF_ERROR(ReadExpected(state));
  state.report.metric_name = state.metric.name();
  state.report.metric_title = state.metric.title();
  if (!state.config.training().enabled()) return absl::OkStatus();
  PACTORY_RETURN_IF_ERROR(CheckMaskAugmentation(state));
  PACTORY_ASSIGN_OR_RETURN(const LossWeights weights,
                           ReadLossWeights(state.config.training(), LabelsOf(state)));
  state.config.mutable_training()->set_task_loss_weight(weights.task);
  if (weights.distillation > 0) {
    PACTORY_ASSIGN_OR_RETURN(state.targets, ChooseTargets(state.graph, state.config.training()));
  }
  return absl::OkStatus();
}

void LoadCheckpoint(PipelineState& state) {
  if (state.job.checkpoint_path.empty()) return;
  auto checkpoint = ReadCheckpoint(state.job.checkpoint_path);
  if (checkpoint.ok()) {
    state.resume = *std::move(checkpoint);
  } else {
    // A job is worth more than its checkpoint.
    state.report.warnings.push_back(absl::StrCat("training starts anew: ", checkpoint.status().message()));
  }
}

}  // namespace

void PlanQuantization(PipelineState& state) {
  const v1::TrainingConfig& training = state.config.training();
  const double seconds = 0.002 * static_cast<double>(state.eval->size());
  const double step = 0.02 * training.batch_size();
  state.meter.Plan("calibrate", 0.005 * state.config.calibration().samples());
  state.meter.Plan("evaluate_ptq", seconds);
  if (training.enabled() && training.plain_qat_baseline()) state.meter.Plan("train_plain_qat", step * training.steps());
  if (state.config.weights().rounding() == v1::WeightConfig::ADAROUND) {
    // Some tens of layers.
    state.meter.Plan("learn_rounding", 0.2 * state.config.weights().adaround().steps());
  }
  if (state.config.calibration().bias_correction()) state.meter.Plan("correct_biases", 20);
  if (training.enabled()) {
    state.meter.Plan("train", step * training.steps() + seconds);
  } else {
    state.meter.Plan("evaluate_calibrated", seconds);
  }
  state.meter.Plan("check_weight_ranges", 1);
  state.meter.Plan("measure_layers", 1);
  state.meter.Plan("export", 1);
  if (!state.job.runtime_check_command.empty()) state.meter.Plan("check_deployed", 2 * seconds + 3);
}

Labels LabelsOf(const PipelineState& state) {
  const Dataset& train = *state.train;
  switch (state.config.training().task_loss()) {
    case v1::TrainingConfig::CROSS_ENTROPY: return train.has_classes() ? Labels::kPresent : Labels::kAbsent;
    case v1::TrainingConfig::CTC: return train.has_labels() && !train.has_classes() ? Labels::kPresent : Labels::kAbsent;
    default: return train.targets().empty() ? Labels::kAbsent : Labels::kPresent;
  }
}

absl::Status LoadInputs(PipelineState& state) {
  state.meter.Plan("load", 1);
  PACTORY_RETURN_IF_ERROR(state.meter.Start("load"));
  if (state.job.threads > 0) at::set_num_threads(state.job.threads);
  PACTORY_RETURN_IF_ERROR(LoadConfig(state));
  PACTORY_ASSIGN_OR_RETURN(state.device, ChooseDevice(state.config.device()));
  PACTORY_RETURN_IF_ERROR(Because(LoadModel(state), "BAD_MODEL"));
  PACTORY_RETURN_IF_ERROR(Because(LoadData(state), "BAD_DATA"));
  const absl::Status metric = ChooseMetric(state);
  if (!metric.ok()) return WithReason(metric, "BAD_CONFIG");
  LoadCheckpoint(state);
  const double seconds = 0.002 * static_cast<double>(state.eval->size());
  state.meter.Plan("evaluate_fp32", seconds);
  if (!state.job.runtime_check_command.empty()) state.meter.Plan("verify_import", seconds);
  // With a contract each rung is planned when it is begun.
  if (!state.config.has_contract()) PlanQuantization(state);
  return absl::OkStatus();
}

}  // namespace pactory::quant
