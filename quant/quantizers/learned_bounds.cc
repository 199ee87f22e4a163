#include "quant/quantizers/learned_bounds.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "quant/kernels/fake_quantize.h"
#include "quant/quantizers/learned_clip.h"

namespace pactory::quant {
namespace {

at::Tensor Leaf(double value) { return at::full({1}, value, at::kFloat).requires_grad_(true); }

}  // namespace

LearnedBounds::LearnedBounds(QuantizerSpec spec, RangeGradient gradient)
    : Quantizer(std::move(spec)),
      levels_((int64_t{1} << this->spec().bits) - 1),
      gradient_(gradient),
      low_(Leaf(this->spec().low)),
      high_(Leaf(this->spec().threshold)) {}

Grid LearnedBounds::grid() const { return GridOfBounds(low_.to(at::kCPU), high_.to(at::kCPU), levels_); }

at::Tensor LearnedBounds::Apply(const at::Tensor& x) { return FakeQuantizeBounds(x, low_, high_, levels_, gradient_); }

std::optional<PointwiseStage> LearnedBounds::Stage() const {
  if (!low_.is_cpu()) return std::nullopt;
  return FakeQuantizeBoundsStage(low_, high_, levels_, gradient_);
}

at::Tensor LearnedBounds::Scales(const at::Tensor&) const {
  const at::Tensor range = high_.detach().to(at::kCPU) - low_.detach().to(at::kCPU);
  return range / at::full_like(range, levels_);
}

std::vector<LearnedValue> LearnedBounds::learned() {
  const double unit = spec().threshold - spec().low;
  const bool penalized = gradient_ == RangeGradient::kClip;
  return {{.name = "low", .tensor = &low_, .start = spec().low, .unit = unit, .penalized = penalized},
          {.name = "high", .tensor = &high_, .start = spec().threshold, .unit = unit, .penalized = penalized}};
}

void LearnedBounds::Constrain() {
  double low = low_.detach().item<double>();
  double high = high_.detach().item<double>();
  const double least = (spec().threshold - spec().low) * kLeastLearnedShare;
  if (std::isfinite(low) && std::isfinite(high) && low <= 0 && high >= least) return;
  low = std::isfinite(low) ? std::min(low, 0.0) : spec().low;
  high = std::isfinite(high) ? std::max(high, least) : spec().threshold;
  low_.detach().fill_(low);
  high_.detach().fill_(high);
}

std::map<std::string, at::Tensor> LearnedBounds::State() { return {{"low", low_.detach()}, {"high", high_.detach()}}; }

void LearnedBounds::To(at::Device device) {
  low_ = low_.detach().to(device).requires_grad_(true);
  high_ = high_.detach().to(device).requires_grad_(true);
}

std::unique_ptr<Quantizer> MakeLearnedBounds(const QuantizerSpec& spec, RangeGradient gradient) {
  if (spec.signedness == Signedness::kUnsigned) {
    return std::make_unique<LearnedClip>(spec, ActivationGrid(spec.bits, Signedness::kUnsigned), gradient);
  }
  return std::make_unique<LearnedBounds>(spec, gradient);
}

}  // namespace pactory::quant
