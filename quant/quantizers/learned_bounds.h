// What PACT_AFFINE and LSQ_PLUS share: two learned ends of the range, around 0, on an affine grid. Used by their files alone.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "quant/quantizers/quantizer.h"

namespace pactory::quant {

/// Fake quantization with learned ends low <= 0 < high on 2^bits - 1 levels. Not thread-safe.
class LearnedBounds : public Quantizer {
 public:
  LearnedBounds(QuantizerSpec spec, RangeGradient gradient);

  Grid grid() const override;
  at::Tensor Apply(const at::Tensor& x) override;
  std::optional<PointwiseStage> Stage() const override;
  at::Tensor Scales(const at::Tensor& x) const override;
  std::vector<LearnedValue> learned() override;
  /// Keeps 0 in the range, and the range above a thousandth of where it started; an end that is not finite starts anew.
  void Constrain() override;
  std::map<std::string, at::Tensor> State() override;
  void To(at::Device device) override;

 private:
  const int64_t levels_;
  const RangeGradient gradient_;
  at::Tensor low_;
  at::Tensor high_;
};

/// Makes one; a tensor that can't be negative gets a LearnedClip on the unsigned grid, as its lower end is 0.
std::unique_ptr<Quantizer> MakeLearnedBounds(const QuantizerSpec& spec, RangeGradient gradient);

}  // namespace pactory::quant
