// Symmetric weights whose range is max|w|, measured anew at each use. Used by the abs-max methods' files.
#pragma once

#include "quant/quantizers/quantizer.h"

namespace pactory::quant {

/// Fake quantization of weights, one scale per output channel or one in all. Not thread-safe.
class WeightAbsMax : public Quantizer {
 public:
  explicit WeightAbsMax(const QuantizerSpec& spec);

  Grid grid() const override { return {-steps_, steps_}; }
  at::Tensor Apply(const at::Tensor& weight) override;
  at::Tensor Scales(const at::Tensor& weight) const override;

 private:
  const int64_t steps_;
};

}  // namespace pactory::quant
