#include "quant/quantizers/learned_clip.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "quant/kernels/fake_quantize.h"

namespace pactory::quant {
LearnedClip::LearnedClip(QuantizerSpec spec, Grid grid, RangeGradient gradient)
    : Quantizer(std::move(spec)),
      grid_(grid),
      gradient_(gradient),
      alpha_(at::full({1}, this->spec().threshold, at::kFloat).requires_grad_(true)) {}

at::Tensor LearnedClip::Apply(const at::Tensor& x) { return FakeQuantizeLearned(x, alpha_, grid_, gradient_); }

std::optional<PointwiseStage> LearnedClip::Stage() const {
  if (!alpha_.is_cpu()) return std::nullopt;
  return FakeQuantizeLearnedStage(alpha_, grid_, gradient_);
}

std::vector<LearnedValue> LearnedClip::learned() {
  return {{.name = "alpha",
           .tensor = &alpha_,
           .start = spec().threshold,
           .unit = spec().threshold,
           .penalized = gradient_ == RangeGradient::kClip}};
}

at::Tensor LearnedClip::Scales(const at::Tensor&) const {
  const at::Tensor alpha = alpha_.detach().to(at::kCPU);
  return alpha / at::full_like(alpha, grid_.qmax);
}

void LearnedClip::Constrain() {
  const double value = alpha_.detach().item<double>();
  const double least = spec().threshold * kLeastLearnedShare;
  if (std::isfinite(value) && value >= least) return;
  alpha_.detach().fill_(std::isfinite(value) ? least : spec().threshold);
}

std::map<std::string, at::Tensor> LearnedClip::State() { return {{"alpha", alpha_.detach()}}; }

void LearnedClip::To(at::Device device) { alpha_ = alpha_.detach().to(device).requires_grad_(true); }

}  // namespace pactory::quant
