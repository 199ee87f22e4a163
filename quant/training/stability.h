// Signs that training goes wrong although every number is still finite: a loss that explodes, a learned range that dies or runs
// away. Used by the training loop. Not thread-safe.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "quant/quantizers/quantizer.h"
#include "quant/training/training_history.h"

namespace pactory::quant {

/// Watches the median loss of the last kLossWindow steps.
class LossWatch {
 public:
  static constexpr size_t kLossWindow = 16;

  /// The loss explodes above `factor` times the least median so far, where that is also above the first median and above
  /// `negligible`: distillation starts near 0, where a multiple says nothing. `factor` 0: never.
  LossWatch(double factor, double negligible) : factor_(factor), negligible_(negligible) {}

  /// Starts anew from the steps of a training, as after it went back.
  void Reset(const std::vector<StepRecord>& steps);
  void Add(double loss);
  bool exploding() const { return IsTooLarge(median_); }
  /// Whether the last loss alone would be too large for a median.
  bool suspicious() const { return !window_.empty() && IsTooLarge(window_.back()); }

 private:
  bool IsTooLarge(double loss) const;

  const double factor_;
  const double negligible_;
  std::deque<double> window_;
  // 0 until the window is full for the first time.
  double first_ = 0;
  double least_ = 0;
  double median_ = 0;
};

/// Returns what is wrong with a learned value, or "": it fell to the least share of its start that is allowed, where the grid has
/// all but vanished, or grew beyond a hundred times its unit; of several channels, one is enough.
std::string RangeFault(const LearnedValue& value);

}  // namespace pactory::quant
