#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/error.h"
#include "base/status_macros.h"
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

}  // namespace

at::Tensor ExpectedAnswers(const PipelineState& state) {
  return state.metric.by_labels() ? state.eval->labels() : state.fp32_answers;
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
  const int64_t classes = state.fp32_outputs.values().size(-1);
  for (const auto& [dataset, path] : {std::pair(state.train.get(), &state.job.train_data_path),
                                      std::pair(state.eval.get(), &state.job.eval_data_path)}) {
    if (!dataset->has_labels()) continue;
    const absl::Status labels = CheckLabels(*dataset, classes, *path);
    if (!labels.ok()) return WithReason(labels, "BAD_DATA");
  }
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
