#include "quant/quantizers/weight_abs_max.h"

#include "quant/kernels/fake_quantize.h"

namespace pactory::quant {
namespace {

// Range of a channel whose weights are all 0, so that its scale is not.
constexpr double kLeastWeightRange = 1e-8;

}  // namespace

WeightAbsMax::WeightAbsMax(const QuantizerSpec& spec)
    : Quantizer(spec), steps_(WeightSteps(spec.bits, spec.range)) {}

at::Tensor WeightAbsMax::Apply(const at::Tensor& weight) {
  return FakeQuantizeAbsMax(weight, spec().channel_axis, steps_, kLeastWeightRange);
}

at::Tensor WeightAbsMax::Scales(const at::Tensor& weight) const {
  return AbsMaxScales(weight, spec().channel_axis, steps_, kLeastWeightRange);
}

}  // namespace pactory::quant
