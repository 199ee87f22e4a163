// What happened in training, for reports and for checkpoints: losses, evaluations, every alpha. Not thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "quant/training/checkpoint.h"

namespace pactory::quant {

/// Numbers of one optimizer step.
struct StepRecord {
  /// Steps done, from 1.
  int64_t step = 0;
  double loss = 0;
  double learning_rate = 0;
  /// Of the weights, before clipping.
  double gradient_norm = 0;
};

/// Accuracy on the evaluation set after some steps.
struct EvaluationRecord {
  int64_t step = 0;
  double metric = 0;
};

/// Every alpha after some steps, in the order of TrainingHistory::alpha_names.
struct AlphaRecord {
  int64_t step = 0;
  std::vector<double> values;
};

/// The records of a training.
struct TrainingHistory {
  std::vector<std::string> alpha_names;
  std::vector<StepRecord> steps;
  std::vector<EvaluationRecord> evaluations;
  std::vector<AlphaRecord> alphas;
  /// Times that training went back to a checkpoint because the loss or a gradient was not finite.
  int64_t rollbacks = 0;
  std::vector<std::string> warnings;

  /// Drops what lies after `step`, as when training goes back to it.
  void ForgetAfter(int64_t step);
  /// Puts the records into a checkpoint; the warnings stay out.
  void Save(Checkpoint& checkpoint) const;
  /// Reads the records back; records that are absent or of another shape are left empty.
  void Load(const Checkpoint& checkpoint);
};

}  // namespace pactory::quant
