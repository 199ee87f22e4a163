// What a job measures: the answers that a model's outputs stand for, and how two sets of answers are compared. Used by the
// pipeline. Thread-safe.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

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

/// One of EvaluationConfig's metrics.
class Metric {
 public:
  /// `config`: complete, its metric chosen.
  explicit Metric(const v1::EvaluationConfig& config) : metric_(config.metric()), threshold_(config.map_threshold()) {}
  Metric() = default;

  /// Like `top1`; docs/report.md lists them.
  std::string name() const;
  /// What it measures, for people: like `accuracy`.
  std::string title() const;

  /// Whether answers are compared with the labels; else with the FP32 model's answers.
  bool by_labels() const;

  /// Returns the answers of a batch of first outputs, on the CPU: the largest output's index (N x ...), CTC's reading
  /// (N x T, filled up with -1) or the map (bool, N x ...). INVALID_ARGUMENT where the metric takes no outputs of that rank.
  absl::StatusOr<at::Tensor> Answers(const at::Tensor& outputs) const;

  /// Whether samples are right or wrong as a whole; IOU counts values.
  bool counts_samples() const;

  /// Returns on which samples the answers are equal: bool, one per sample. Sequences may differ in how far they are filled up.
  /// INVALID_ARGUMENT where the shapes differ otherwise. Requires counts_samples().
  absl::StatusOr<at::Tensor> EqualAnswers(at::Tensor answers, at::Tensor expected) const;

  /// Returns the share of samples with equal answers; for IOU, in values: those set in both over those set in either.
  /// INVALID_ARGUMENT as EqualAnswers.
  absl::StatusOr<Accuracy> Compare(at::Tensor answers, at::Tensor expected) const;

 private:
  v1::EvaluationConfig::Metric metric_ = v1::EvaluationConfig::TOP1;
  double threshold_ = 0;
};

/// Returns the greedy reading of CTC outputs (N x T x C, class 0 the blank; Graves et al. 2006): the largest class of each step,
/// repeats collapsed, blanks dropped; N x T int64, filled up with -1. NaN in a step reads as -2, which no label is.
at::Tensor ReadCtc(const at::Tensor& outputs);

}  // namespace pactory::quant
