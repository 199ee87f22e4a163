// What LSQ for weights and CHANNEL_MSE share: symmetric ranges that start where the weight's squared error is least, one per output
// channel or one in all, fixed or learned. Used by their files alone.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "quant/quantizers/quantizer.h"

namespace pactory::quant {

/// Whether training moves a range.
enum class RangeLearning { kFixed, kLearned };

/// Fake quantization of weights. A range is learned as a multiple of where it started, so that one learning rate suits channels
/// whose ranges differ by orders of magnitude. Not thread-safe.
class ChannelRanges : public Quantizer {
 public:
  ChannelRanges(const QuantizerSpec& spec, RangeLearning learning);

  Grid grid() const override { return {-steps_, steps_}; }
  void Start(const at::Tensor& weight) override;
  at::Tensor Apply(const at::Tensor& weight) override;
  at::Tensor Scales(const at::Tensor& weight) const override;
  std::vector<LearnedValue> learned() override;
  /// Raises a range to a thousandth of its start; one that is not finite starts anew.
  void Constrain() override;
  std::map<std::string, at::Tensor> State() override;
  void To(at::Device device) override;

 private:
  const int64_t steps_;
  const RangeLearning learning_;
  // By channel; the range is start * multiple.
  at::Tensor start_;
  at::Tensor multiple_;
};

}  // namespace pactory::quant
