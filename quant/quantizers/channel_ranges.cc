#include "quant/quantizers/channel_ranges.h"

#include <ATen/ATen.h>

#include "quant/kernels/fake_quantize.h"
#include "quant/observers/least_error_range.h"

namespace pactory::quant {

ChannelRanges::ChannelRanges(const QuantizerSpec& spec, RangeLearning learning)
    : Quantizer(spec),
      steps_(WeightSteps(spec.bits, spec.range)),
      learning_(learning),
      start_(at::full({1}, spec.threshold, at::kFloat)),
      multiple_(at::ones({1})) {}

void ChannelRanges::Start(const at::Tensor& weight) {
  start_ = LeastErrorRanges(weight, spec().channel_axis, steps_).clamp_min_(kLeastMeasuredRange);
  multiple_ = at::ones_like(start_).requires_grad_(learning_ == RangeLearning::kLearned);
}

at::Tensor ChannelRanges::Apply(const at::Tensor& weight) {
  return FakeQuantizeChannels(weight, start_ * multiple_, spec().channel_axis, steps_);
}

at::Tensor ChannelRanges::Scales(const at::Tensor&) const {
  const at::Tensor ranges = (start_ * multiple_.detach()).to(at::kCPU);
  return ranges / at::full_like(ranges, steps_);
}

std::vector<LearnedValue> ChannelRanges::learned() {
  if (learning_ == RangeLearning::kFixed) return {};
  return {{.name = "range", .tensor = &multiple_, .start = 1}};
}

void ChannelRanges::Constrain() {
  at::Tensor values = multiple_.detach();
  values.copy_(at::where(values.isfinite(), values.clamp_min(kLeastLearnedShare), at::ones_like(values)));
}

std::map<std::string, at::Tensor> ChannelRanges::State() {
  return {{"start", start_}, {"range", multiple_.detach()}};
}

void ChannelRanges::To(at::Device device) {
  start_ = start_.to(device);
  multiple_ = multiple_.detach().to(device).requires_grad_(learning_ == RangeLearning::kLearned);
}

}  // namespace pactory::quant
