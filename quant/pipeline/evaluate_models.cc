#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "quant/data/character_set.h"
#include "quant/evaluation/run_on_dataset.h"
#include "quant/pipeline/choose_quantizers.h"
#include "quant/pipeline/because.h"
#include "quant/pipeline/make_quantized_model.h"
#include "quant/pipeline/stages.h"

namespace pactory::quant {
namespace {

absl::StatusOr<at::Tensor> AnswersIn(PipelineState& state, Executor& executor, double from, double to, KeptOutputs* kept) {
  RunOptions options;
  options.batch_size = state.config.evaluation().batch_size();
  options.device = state.device;
  const double total = static_cast<double>(state.eval->size());
  options.on_batch = [&](int64_t done) { return state.meter.Advance(from + (to - from) * static_cast<double>(done) / total); };
  options.keep = [&state, kept](const at::Tensor& outputs) {
    if (kept != nullptr) kept->Add(outputs);
    return state.metric.Answers(outputs);
  };
  return RunOnDataset(executor, *state.eval, options);
}

// What the data's labels must be for this model, whose outputs are known by now.
absl::Status CheckData(const PipelineState& state) {
  const at::Tensor outputs = state.fp32_outputs.values();
  const int64_t classes = outputs.size(-1);
  const v1::QuantizationConfig& config = state.config;
  for (const auto& [dataset, path] : {std::pair(state.train.get(), &state.job.train_data_path),
                                      std::pair(state.eval.get(), &state.job.eval_data_path)}) {
    if (!dataset->has_labels()) continue;
    PACTORY_RETURN_IF_ERROR(CheckLabels(*dataset, classes, *path));
  }
  const bool trains_lines = config.training().enabled() && config.training().task_loss() == v1::TrainingConfig::CTC &&
                            config.training().task_loss_weight() > 0;
  if (trains_lines && outputs.dim() == 3) {
    PACTORY_RETURN_IF_ERROR(CheckSequencesFit(*state.train, outputs.size(1), state.job.train_data_path));
  }
  if (!config.preprocess().has_characters() || !state.eval->has_labels() || state.eval->has_classes()) return absl::OkStatus();
  PACTORY_ASSIGN_OR_RETURN(const CharacterSet characters, CharacterSet::Create(config.preprocess().characters()));
  if (characters.size() + 1 == classes) return absl::OkStatus();
  return InvalidField("preprocess.characters",
                      absl::StrCat("must have a character for each of the model's classes but the blank, in their order; lists in files "
                                   "often leave out the space, which is the last class then: characters=", characters.size(),
                                   " classes=", classes));
}

}  // namespace

at::Tensor ExpectedAnswers(const PipelineState& state) {
  return state.metric.by_labels() ? state.expected : state.fp32_answers;
}

absl::StatusOr<Accuracy> MeasureMetric(const PipelineState& state, const at::Tensor& answers) {
  return state.metric.Compare(answers, ExpectedAnswers(state));
}

absl::StatusOr<at::Tensor> AnswersOf(PipelineState& state, QuantizedModel& model, double from, double to, KeptOutputs* kept) {
  model.SetMode(QuantizerMode::kFrozen);
  return AnswersIn(state, model.executor(), from, to, kept);
}

absl::Status EvaluateFp32(PipelineState& state) {
  PACTORY_RETURN_IF_ERROR(state.meter.Start("evaluate_fp32"));
  auto answers = AnswersIn(state, *state.fp32, 0, 1, &state.fp32_outputs);
  if (!answers.ok()) {
    // What the user gave does not run: data that does not fit, or a model that is wrong inside.
    return Because(answers.status(), absl::IsInvalidArgument(answers.status()) ? "BAD_MODEL" : "INTERNAL");
  }
  state.fp32_answers = *std::move(answers);
  state.fp32_seconds = state.meter.StageSeconds();
  if (const absl::Status data = CheckData(state); !data.ok()) return WithReason(data, "BAD_DATA");
  PACTORY_ASSIGN_OR_RETURN(state.report.fp32, MeasureMetric(state, state.fp32_answers));
  state.meter.details().set_metric(state.report.fp32->share());
  const double least = state.config.gates().min_fp32_metric();
  if (state.report.fp32->share() < least) {
    return WithReason(
        absl::FailedPreconditionError(absl::StrFormat(
            "the uploaded model must reach gates.min_fp32_metric on the evaluation data before it is trained; check labels, "
            "mean, std, scale and channel order in `preprocess`: %s=%.4f least=%.4f",
            state.report.metric_name, state.report.fp32->share(), least)),
        "GATE_FAILED");
  }
  // What was measured makes better guesses of what is to come.
  const double seconds = state.fp32_seconds;
  const double sample = seconds / static_cast<double>(state.eval->size());
  const v1::TrainingConfig& training = state.config.training();
  state.meter.Estimate("verify_import", seconds + 2);
  state.meter.Estimate("calibrate", sample * 2 * state.config.calibration().samples());
  state.meter.Estimate("evaluate_ptq", 1.5 * seconds);
  const double train = sample * 4 * training.batch_size() * training.steps() + 1.5 * seconds;
  state.meter.Estimate("train_plain_qat", train);
  state.meter.Estimate("train", train);
  state.meter.Estimate("check_deployed", 2 * seconds + 5);
  return absl::OkStatus();
}

absl::Status EvaluatePtq(PipelineState& state) {
  PACTORY_RETURN_IF_ERROR(state.meter.Start("evaluate_ptq"));
  PACTORY_ASSIGN_OR_RETURN(const std::unique_ptr<QuantizedModel> model, MakeQuantizedModel(state, PtqBaseline(state.config)));
  PACTORY_ASSIGN_OR_RETURN(const at::Tensor answers, AnswersOf(state, *model, 0, 1));
  PACTORY_ASSIGN_OR_RETURN(state.report.ptq, MeasureMetric(state, answers));
  state.answers["ptq"] = answers;
  return absl::OkStatus();
}

}  // namespace pactory::quant
