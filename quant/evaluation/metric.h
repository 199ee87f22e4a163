// What a job measures: the answers that a model's outputs stand for, and how two sets of answers are compared. Used by the
// pipeline. Thread-safe.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "pactory/v1/quantization.pb.h"
#include "quant/evaluation/accuracy.h"
#include "quant/graph/graph.h"

namespace pactory::quant {

/// What the evaluation data has to compare with.
enum class Reference { kNothing, kClasses, kSequences };

/// Returns the metric of a model whose config names none: TOP1 with a class per sample, CTC_EXACT with a sequence per sample;
/// without labels CTC_AGREEMENT for images that become probabilities along a line (N x T x C), IOU for maps (four axes), else
/// AGREEMENT.
v1::EvaluationConfig::Metric DefaultMetric(const Graph& graph, Reference reference);

/// Height and width of the model's input, in pixels.
struct InputSize {
  int64_t height = 0;
  int64_t width = 0;
};

/// One of EvaluationConfig's metrics.
class Metric {
 public:
  /// `config`: complete, its metric chosen. `input`: for TEXT_HMEAN, what the regions of its maps are told in; without it, in their pixels.
  explicit Metric(const v1::EvaluationConfig& config, InputSize input = {}) : config_(config), input_(input) {}
  Metric() { config_.set_metric(v1::EvaluationConfig::TOP1); }

  /// Like `top1`; docs/report.md lists them.
  std::string name() const;
  /// What it measures, for people: like `accuracy`.
  std::string title() const;

  /// Whether answers are compared with what the data has: labels, masks or regions; else with the FP32 model's answers.
  bool by_labels() const;

  /// Whether answers are CTC's readings.
  bool reads_lines() const;

  /// Returns the answers of a batch of first outputs, on the CPU: the largest output's index (N x ...), CTC's reading
  /// (N x T, filled up with -1), the map (bool, N x ...) or regions (region_rows.h). INVALID_ARGUMENT where the metric takes no outputs of
  /// that form.
  absl::StatusOr<at::Tensor> Answers(const at::Tensor& outputs) const;

  /// Whether samples are right or wrong as a whole; not so for maps and regions.
  bool counts_samples() const;

  /// Returns on which samples the answers are equal: bool, one per sample. Sequences may differ in how far they are filled up.
  /// INVALID_ARGUMENT where the shapes differ otherwise. Requires counts_samples().
  absl::StatusOr<at::Tensor> EqualAnswers(at::Tensor answers, at::Tensor expected) const;

  /// Returns the metric of answers, `expected` being what the data has (masks as bool, regions as ExpectedRows gives them) or, where the
  /// metric is not by labels, FP32's answers: the share of samples with equal answers; for maps, in values, those set in both over those
  /// set in either; for characters, regions and boxes as EvaluationConfig's metrics say. INVALID_ARGUMENT as EqualAnswers.
  absl::StatusOr<Accuracy> Compare(at::Tensor answers, at::Tensor expected) const;

  /// Returns what two models' answers have in common: as Compare, but for CTC_CHARACTERS the share of equal readings and for COCO_MAP that
  /// of common boxes.
  absl::StatusOr<Accuracy> Agreement(at::Tensor answers, at::Tensor others) const;

  /// Returns what else tells how good answers are, by name as in docs/report.md, in [0, 1] but for `character_error_rate`: none but for
  /// metrics by labels.
  absl::StatusOr<std::vector<std::pair<std::string, double>>> Scores(const at::Tensor& answers, const at::Tensor& expected) const;

 private:
  v1::EvaluationConfig config_;
  InputSize input_;
};

/// Returns the greedy reading of CTC outputs (N x T x C, class 0 the blank; Graves et al. 2006): the largest class of each step,
/// repeats collapsed, blanks dropped; N x T int64, filled up with -1. NaN in a step reads as -2, which no label is.
at::Tensor ReadCtc(const at::Tensor& outputs);

}  // namespace pactory::quant
