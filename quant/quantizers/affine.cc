#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "quant/kernels/fake_quantize.h"
#include "quant/quantizers/registry.h"

namespace pactory::quant {
namespace {

// Jacob et al. 2018: an affine grid over [min(x), max(x)], widened to hold 0; in training both ends follow a bias-corrected
// moving average, as MOVING_AVERAGE_ABS_MAX does. Measured in training, frozen in evaluation and export.
class Affine : public Quantizer {
 public:
  explicit Affine(const QuantizerSpec& spec)
      : Quantizer(spec),
        levels_((int64_t{1} << spec.bits) - 1),
        state_(at::ones({1})),
        low_(at::full({1}, spec.signedness == Signedness::kUnsigned ? 0.0 : spec.low, at::kFloat)),
        high_(at::full({1}, spec.threshold, at::kFloat)) {}

  Grid grid() const override { return GridOfBounds(Low(), High(), levels_); }

  at::Tensor Apply(const at::Tensor& x) override {
    if (mode() == QuantizerMode::kTraining) Measure(x);
    return FakeQuantizeBounds(x, Low().to(x.device()), High().to(x.device()), levels_, RangeGradient::kClip);
  }

  std::optional<PointwiseStage> Stage() const override {
    if (mode() == QuantizerMode::kTraining) return std::nullopt;
    return FakeQuantizeBoundsStage(Low(), High(), levels_, RangeGradient::kClip);
  }

  at::Tensor Scales(const at::Tensor&) const override {
    const at::Tensor range = High() - Low();
    return range / at::full_like(range, levels_);
  }

  std::map<std::string, at::Tensor> State() override { return {{"state", state_}, {"low", low_}, {"high", high_}}; }

 private:
  void Measure(const at::Tensor& x) {
    const auto [least, largest] = x.detach().aminmax();
    const double low = least.item<double>();
    const double high = largest.item<double>();
    // A batch with NaN or infinity is no measurement; the loss shows it to the trainer.
    if (!std::isfinite(low) || !std::isfinite(high)) return;
    state_.mul_(spec().moving_rate).add_(1);
    low_.mul_(spec().moving_rate);
    if (spec().signedness != Signedness::kUnsigned) low_.add_(std::min(0.0, low));
    high_.mul_(spec().moving_rate).add_(std::max(0.0, high));
  }

  at::Tensor Low() const { return low_ / state_; }
  at::Tensor High() const { return (high_ / state_).clamp_min(kLeastMeasuredRange); }

  const int64_t levels_;
  // The ends are low_ / state_ and high_ / state_.
  at::Tensor state_;
  at::Tensor low_;
  at::Tensor high_;
};

const QuantizerRegistration kAffine({
    .method = v1::AFFINE,
    .doc = "An affine grid over min(x) to max(x): calibrated, and in training a moving average. Nothing is learned.",
    .targets = {QuantizerTarget::kActivation},
    .affine = true,
    .make = [](const QuantizerSpec& spec) { return std::make_unique<Affine>(spec); },
});

}  // namespace
}  // namespace pactory::quant
