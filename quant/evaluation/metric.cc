#include "quant/evaluation/metric.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "quant/ops/value_rank.h"

namespace pactory::quant {
namespace {

using v1::EvaluationConfig;

constexpr int64_t kPadding = -1;
constexpr int64_t kUnreadable = -2;

bool IsWrittenBySoftmax(const Graph& graph) {
  const Node* node = graph.Producer(graph.outputs[0].name);
  while (node != nullptr && node->op_type == "Identity") node = graph.Producer(node->inputs[0]);
  return node != nullptr && (node->op_type == "Softmax" || node->op_type == "LogSoftmax");
}

bool ReadsSequences(EvaluationConfig::Metric metric) {
  return metric == EvaluationConfig::CTC_EXACT || metric == EvaluationConfig::CTC_AGREEMENT;
}

at::Tensor FilledUpTo(const at::Tensor& sequences, int64_t length) {
  return at::constant_pad_nd(sequences, {0, length - sequences.size(1)}, kPadding);
}

// Fills the shorter ones up to the length of the others.
void FillUp(at::Tensor& answers, at::Tensor& expected) {
  const int64_t length = std::max(answers.size(1), expected.size(1));
  answers = FilledUpTo(answers, length);
  expected = FilledUpTo(expected, length);
}

// Two empty maps agree: nothing is found, and nothing was there.
Accuracy Overlap(const at::Tensor& a, const at::Tensor& b) {
  const int64_t both = a.logical_and(b).sum().item<int64_t>();
  const int64_t either = a.logical_or(b).sum().item<int64_t>();
  if (either == 0) return {.right = 1, .total = 1, .unit = Accuracy::Unit::kValues};
  return {.right = both, .total = either, .unit = Accuracy::Unit::kValues};
}

}  // namespace

EvaluationConfig::Metric DefaultMetric(const Graph& graph, Reference reference) {
  if (reference == Reference::kClasses) return EvaluationConfig::TOP1;
  if (reference == Reference::kSequences) return EvaluationConfig::CTC_EXACT;
  const bool reads_images = std::any_of(graph.inputs.begin(), graph.inputs.end(),
                                        [&](const ValueInfo& input) { return RankOf(graph, input.name) == 4; });
  const std::optional<int64_t> output = RankOf(graph, graph.outputs[0].name);
  if (reads_images && output == 3 && IsWrittenBySoftmax(graph)) return EvaluationConfig::CTC_AGREEMENT;
  if (output == 4) return EvaluationConfig::IOU;
  return EvaluationConfig::AGREEMENT;
}

std::string Metric::name() const {
  switch (metric_) {
    case EvaluationConfig::TOP1: return "top1";
    case EvaluationConfig::CTC_EXACT: return "ctc_exact";
    case EvaluationConfig::CTC_AGREEMENT: return "ctc_agreement";
    case EvaluationConfig::IOU: return "iou";
    default: return "agreement";
  }
}

bool Metric::by_labels() const { return metric_ == EvaluationConfig::TOP1 || metric_ == EvaluationConfig::CTC_EXACT; }

std::string Metric::title() const {
  switch (metric_) {
    case EvaluationConfig::TOP1: return "accuracy";
    case EvaluationConfig::CTC_EXACT: return "exact sequences";
    case EvaluationConfig::CTC_AGREEMENT: return "sequences as FP32's";
    case EvaluationConfig::IOU: return "overlap with FP32's maps";
    default: return "answers as FP32's";
  }
}

absl::StatusOr<at::Tensor> Metric::Answers(const at::Tensor& outputs) const {
  if (ReadsSequences(metric_) && outputs.dim() != 3) {
    return absl::InvalidArgumentError(absl::StrCat("CTC's reading needs a model whose first output is N x steps x classes; set "
                                                   "evaluation.metric to AGREEMENT: rank=", outputs.dim()));
  }
  if (metric_ == EvaluationConfig::TOP1 && outputs.dim() != 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("labels need a model whose first output is N x classes; set evaluation.metric to AGREEMENT and "
                     "training.task_loss_weight to 0: rank=", outputs.dim()));
  }
  switch (metric_) {
    case EvaluationConfig::CTC_EXACT:
    case EvaluationConfig::CTC_AGREEMENT: return ReadCtc(outputs);
    // NaN is not above it.
    case EvaluationConfig::IOU: return outputs.detach().to(at::kCPU).gt(threshold_);
    default: return LargestOutputs(outputs);
  }
}

bool Metric::counts_samples() const { return metric_ != EvaluationConfig::IOU; }

absl::StatusOr<at::Tensor> Metric::EqualAnswers(at::Tensor answers, at::Tensor expected) const {
  if (ReadsSequences(metric_)) FillUp(answers, expected);
  return EqualSamples(answers, expected);
}

absl::StatusOr<Accuracy> Metric::Compare(at::Tensor answers, at::Tensor expected) const {
  if (ReadsSequences(metric_)) FillUp(answers, expected);
  if (counts_samples()) return CountEqual(answers, expected);
  PACTORY_RETURN_IF_ERROR(CheckSameShape(answers, expected));
  return Overlap(answers, expected);
}

at::Tensor ReadCtc(const at::Tensor& outputs) {
  // NaN gives -1 here.
  const at::Tensor steps = LargestOutputs(outputs).contiguous();
  const int64_t samples = steps.size(0), length = steps.size(1);
  at::Tensor readings = at::full({samples, length}, kPadding, at::kLong);
  const int64_t* step = steps.const_data_ptr<int64_t>();
  int64_t* reading = readings.mutable_data_ptr<int64_t>();
  for (int64_t sample = 0; sample < samples; ++sample, step += length, reading += length) {
    int64_t written = 0;
    for (int64_t t = 0; t < length; ++t) {
      const bool repeats = t > 0 && step[t] == step[t - 1];
      if (step[t] != 0 && !repeats) reading[written++] = step[t] < 0 ? kUnreadable : step[t];
    }
  }
  return readings;
}

}  // namespace pactory::quant
