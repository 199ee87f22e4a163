#include "quant/evaluation/metric.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "quant/evaluation/average_precision.h"
#include "quant/evaluation/detected_boxes.h"
#include "quant/evaluation/edit_distance.h"
#include "quant/evaluation/region_overlap.h"
#include "quant/evaluation/region_rows.h"
#include "quant/evaluation/text_regions.h"
#include "quant/guard.h"
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
  return metric == EvaluationConfig::CTC_EXACT || metric == EvaluationConfig::CTC_AGREEMENT || metric == EvaluationConfig::CTC_CHARACTERS;
}

bool ReadsMaps(EvaluationConfig::Metric metric) { return metric == EvaluationConfig::IOU || metric == EvaluationConfig::MASK_IOU; }

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

Accuracy CharactersRight(const at::Tensor& answers, const at::Tensor& expected) {
  const SequenceEdits sum = CountEdits(answers, expected);
  return {.right = sum.characters - sum.edits, .total = sum.characters, .unit = Accuracy::Unit::kCharacters};
}

Accuracy InMillionths(double score) {
  constexpr int64_t kWhole = 1000000;
  return {.right = std::llround(score * kWhole), .total = kWhole, .unit = Accuracy::Unit::kMillionths};
}

absl::StatusOr<at::Tensor> TextRegions(const at::Tensor& outputs, const EvaluationConfig& config, InputSize input) {
  const bool is_map = (outputs.dim() == 4 && outputs.size(1) == 1) || outputs.dim() == 3;
  if (!is_map) {
    return absl::InvalidArgumentError(absl::StrCat("TEXT_HMEAN needs a model whose first output is a map, N x 1 x H x W; set "
                                                   "evaluation.metric to IOU: rank=", outputs.dim()));
  }
  const at::Tensor maps = outputs.detach().to(at::kCPU, at::kFloat).reshape({outputs.size(0), outputs.size(-2), outputs.size(-1)});
  const auto larger = [](int64_t whole, int64_t part) { return whole > 0 ? static_cast<float>(whole) / static_cast<float>(part) : 1; };
  const float higher = larger(input.height, maps.size(1)), wider = larger(input.width, maps.size(2));
  std::vector<std::vector<ScoredRegion>> samples;
  for (int64_t sample = 0; sample < maps.size(0); ++sample) {
    samples.push_back(FindTextRegions(maps[sample], config.map_threshold(), config.text_regions()));
    for (ScoredRegion& region : samples.back()) ScaleCorners(wider, higher, region.corners);
  }
  const bool polygons = config.text_regions().shape() == v1::TextRegionConfig::POLYGON;
  return RegionRows(samples, config.text_regions().max_regions(), polygons ? kMaxPolygonCorners : 4);
}

absl::StatusOr<at::Tensor> Boxes(const at::Tensor& outputs, const v1::BoxConfig& config) {
  PACTORY_ASSIGN_OR_RETURN(const std::vector<std::vector<ScoredRegion>> samples,
                           FindBoxes(outputs.detach().to(at::kCPU, at::kFloat), config));
  return RegionRows(samples, config.max_boxes(), 2);
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
  switch (config_.metric()) {
    case EvaluationConfig::TOP1: return "top1";
    case EvaluationConfig::CTC_EXACT: return "ctc_exact";
    case EvaluationConfig::CTC_AGREEMENT: return "ctc_agreement";
    case EvaluationConfig::CTC_CHARACTERS: return "ctc_characters";
    case EvaluationConfig::IOU: return "iou";
    case EvaluationConfig::MASK_IOU: return "mask_iou";
    case EvaluationConfig::TEXT_HMEAN: return "text_hmean";
    case EvaluationConfig::COCO_MAP: return "coco_map";
    default: return "agreement";
  }
}

bool Metric::by_labels() const {
  switch (config_.metric()) {
    case EvaluationConfig::TOP1:
    case EvaluationConfig::CTC_EXACT:
    case EvaluationConfig::CTC_CHARACTERS:
    case EvaluationConfig::MASK_IOU:
    case EvaluationConfig::TEXT_HMEAN:
    case EvaluationConfig::COCO_MAP: return true;
    default: return false;
  }
}

bool Metric::reads_lines() const { return ReadsSequences(config_.metric()); }

std::string Metric::title() const {
  switch (config_.metric()) {
    case EvaluationConfig::TOP1: return "accuracy";
    case EvaluationConfig::CTC_EXACT: return "exact sequences";
    case EvaluationConfig::CTC_AGREEMENT: return "sequences as FP32's";
    case EvaluationConfig::CTC_CHARACTERS: return "characters (1 - CER)";
    case EvaluationConfig::IOU: return "overlap with FP32's maps";
    case EvaluationConfig::MASK_IOU: return "overlap with masks";
    case EvaluationConfig::TEXT_HMEAN: return "hmean of text regions";
    case EvaluationConfig::COCO_MAP: return "mean avg. precision";
    default: return "answers as FP32's";
  }
}

absl::StatusOr<at::Tensor> Metric::Answers(const at::Tensor& outputs) const {
  if (ReadsSequences(config_.metric()) && outputs.dim() != 3) {
    return absl::InvalidArgumentError(absl::StrCat("CTC's reading needs a model whose first output is N x steps x classes; set "
                                                   "evaluation.metric to AGREEMENT: rank=", outputs.dim()));
  }
  if (config_.metric() == EvaluationConfig::TOP1 && outputs.dim() != 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("labels need a model whose first output is N x classes; set evaluation.metric to AGREEMENT and "
                     "training.task_loss_weight to 0: rank=", outputs.dim()));
  }
  absl::StatusOr<at::Tensor> answers;
  const absl::Status status = GuardTorch("evaluation", [&]() -> absl::Status {
    switch (config_.metric()) {
      case EvaluationConfig::CTC_EXACT:
      case EvaluationConfig::CTC_CHARACTERS:
      case EvaluationConfig::CTC_AGREEMENT: answers = ReadCtc(outputs); break;
      case EvaluationConfig::IOU:
      // NaN is not above it.
      case EvaluationConfig::MASK_IOU: answers = outputs.detach().to(at::kCPU).gt(config_.map_threshold()); break;
      case EvaluationConfig::TEXT_HMEAN: answers = TextRegions(outputs, config_, input_); break;
      case EvaluationConfig::COCO_MAP: answers = Boxes(outputs, config_.boxes()); break;
      default: answers = LargestOutputs(outputs);
    }
    return answers.status();
  });
  PACTORY_RETURN_IF_ERROR(status);
  return answers;
}

bool Metric::counts_samples() const {
  return !ReadsMaps(config_.metric()) && config_.metric() != EvaluationConfig::TEXT_HMEAN && config_.metric() != EvaluationConfig::COCO_MAP;
}

absl::StatusOr<at::Tensor> Metric::EqualAnswers(at::Tensor answers, at::Tensor expected) const {
  if (ReadsSequences(config_.metric())) FillUp(answers, expected);
  return EqualSamples(answers, expected);
}

absl::StatusOr<Accuracy> Metric::Compare(at::Tensor answers, at::Tensor expected) const {
  switch (config_.metric()) {
    case EvaluationConfig::CTC_CHARACTERS: return CharactersRight(answers, expected);
    case EvaluationConfig::COCO_MAP: return InMillionths(MeanAveragePrecision(answers, expected).mean);
    default: return Agreement(std::move(answers), std::move(expected));
  }
}

absl::StatusOr<Accuracy> Metric::Agreement(at::Tensor answers, at::Tensor others) const {
  if (ReadsSequences(config_.metric())) FillUp(answers, others);
  if (counts_samples()) return CountEqual(answers, others);
  if (config_.metric() == EvaluationConfig::COCO_MAP) return CommonBoxes(answers, others, config_.boxes().agreement_score());
  if (config_.metric() == EvaluationConfig::TEXT_HMEAN) {
    Accuracy mean;
    PACTORY_RETURN_IF_ERROR(GuardTorch("evaluation", [&] {
      mean = HarmonicMean(answers, others);
      return absl::OkStatus();
    }));
    return mean;
  }
  // A mask need not have an axis for its one channel.
  if (answers.numel() == others.numel() && answers.size(0) == others.size(0)) others = others.reshape(answers.sizes());
  PACTORY_RETURN_IF_ERROR(CheckSameShape(answers, others));
  return Overlap(answers, others);
}

absl::StatusOr<std::vector<std::pair<std::string, double>>> Metric::Scores(const at::Tensor& answers, const at::Tensor& expected) const {
  std::vector<std::pair<std::string, double>> scores;
  switch (config_.metric()) {
    case EvaluationConfig::CTC_EXACT:
    case EvaluationConfig::CTC_CHARACTERS: {
      scores.emplace_back("character_error_rate", CountEdits(answers, expected).rate());
      PACTORY_ASSIGN_OR_RETURN(const at::Tensor equal, EqualAnswers(answers, expected));
      scores.emplace_back("exact_lines", equal.to(at::kDouble).mean().item<double>());
      break;
    }
    case EvaluationConfig::TEXT_HMEAN: {
      RegionCounts counts;
      PACTORY_RETURN_IF_ERROR(GuardTorch("evaluation", [&] {
        counts = CountRegions(answers, expected);
        return absl::OkStatus();
      }));
      scores.emplace_back("precision", counts.precision());
      scores.emplace_back("recall", counts.recall());
      break;
    }
    case EvaluationConfig::COCO_MAP: {
      const AveragePrecision precision = MeanAveragePrecision(answers, expected);
      scores.emplace_back("ap50", precision.at50);
      scores.emplace_back("ap75", precision.at75);
      break;
    }
    default: break;
  }
  return scores;
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
