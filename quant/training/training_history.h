// What happened in training, for reports and for checkpoints: losses, evaluations, every alpha, every quantizer. Not thread-safe.
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

/// Every quantizer in one step, in the order of TrainingHistory::quantizer_names.
struct QuantizerRecord {
  int64_t step = 0;
  /// Step of the grid; the largest where there is one for each channel.
  std::vector<double> scales;
  /// Share of the batch's values beyond the range.
  std::vector<double> clipped_shares;
  /// L2 norm, before clipping, of the gradient of the learned range, or of the weight; 0 where nothing is learned.
  std::vector<double> gradient_norms;
};

/// The records of a training.
struct TrainingHistory {
  std::vector<std::string> alpha_names;
  std::vector<std::string> quantizer_names;
  std::vector<StepRecord> steps;
  std::vector<EvaluationRecord> evaluations;
  std::vector<AlphaRecord> alphas;
  std::vector<QuantizerRecord> quantizers;
  /// Times that training went back to a checkpoint: a number was not finite, the loss exploded, a range died or ran away.
  int64_t rollbacks = 0;
  /// Steps after which the model was as it is kept.
  int64_t kept_step = 0;
  /// Whether statistics of BatchNormalization were measured anew after the last evaluation.
  bool reestimated = false;
  /// Why training ended before its last step; "" where it did not.
  std::string ended_early;
  std::vector<std::string> warnings;

  /// Puts the records into a checkpoint; the warnings and how it ended stay out.
  void Save(Checkpoint& checkpoint) const;
  /// Reads the records back; records that are absent or of another shape are left empty.
  void Load(const Checkpoint& checkpoint);
};

}  // namespace pactory::quant
