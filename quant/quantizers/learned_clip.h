// What PACT and LSQ share: a learned clipping value alpha, kept positive and finite; the grid's step is alpha / qmax. Used by
// their files alone.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "quant/quantizers/quantizer.h"

namespace pactory::quant {

/// Fake quantization with a learned alpha on a given grid. Not thread-safe.
class LearnedClip : public Quantizer {
 public:
  LearnedClip(QuantizerSpec spec, Grid grid, RangeGradient gradient);

  Grid grid() const override { return grid_; }
  at::Tensor Apply(const at::Tensor& x) override;
  std::optional<PointwiseStage> Stage() const override;
  at::Tensor Scales(const at::Tensor& x) const override;
  std::vector<LearnedValue> learned() override;
  /// Raises alpha to a thousandth of its starting value; a value that is not finite becomes the starting value.
  void Constrain() override;
  std::map<std::string, at::Tensor> State() override;
  void To(at::Device device) override;

 private:
  const Grid grid_;
  const RangeGradient gradient_;
  at::Tensor alpha_;
};

}  // namespace pactory::quant
