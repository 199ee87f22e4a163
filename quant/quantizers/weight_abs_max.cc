#include "quant/quantizers/weight_abs_max.h"

#include "quant/kernels/fake_quantize.h"

namespace pactory::quant {
WeightAbsMax::WeightAbsMax(const QuantizerSpec& spec)
    : Quantizer(spec), steps_(WeightSteps(spec.bits, spec.range)) {}

at::Tensor WeightAbsMax::Apply(const at::Tensor& weight) {
  return FakeQuantizeAbsMax(weight, spec().channel_axis, steps_, kLeastMeasuredRange);
}

at::Tensor WeightAbsMax::Scales(const at::Tensor& weight) const {
  return AbsMaxScales(weight, spec().channel_axis, steps_, kLeastMeasuredRange);
}

}  // namespace pactory::quant
