#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "quant/kernels/fake_quantize.h"
#include "quant/quantizers/registry.h"

namespace pactory::quant {
namespace {

// state = rate * state + 1; accum = rate * accum + max|x|; range = accum / state: a moving average without bias towards
// its start. Measured in training, frozen in evaluation and export.
class MovingAverageAbsMax : public Quantizer {
 public:
  explicit MovingAverageAbsMax(const QuantizerSpec& spec)
      : Quantizer(spec),
        grid_(ActivationGrid(spec.bits, spec.signedness)),
        state_(at::ones({1})),
        accum_(at::full({1}, spec.threshold, at::kFloat)) {}

  Grid grid() const override { return grid_; }

  at::Tensor Apply(const at::Tensor& x) override {
    if (mode() == QuantizerMode::kTraining) Measure(x);
    return FakeQuantizeFixed(x, Range(), grid_);
  }

  at::Tensor Scales(const at::Tensor&) const override {
    return at::full({1}, static_cast<float>(Range()) / static_cast<float>(grid_.qmax));
  }

  std::map<std::string, at::Tensor> State() override { return {{"state", state_}, {"accum", accum_}}; }

 private:
  void Measure(const at::Tensor& x) {
    const double largest = x.detach().abs().max().item<double>();
    // A batch with NaN or infinity is no measurement; the loss shows it to the trainer.
    if (!std::isfinite(largest)) return;
    state_.mul_(spec().moving_rate).add_(1);
    accum_.mul_(spec().moving_rate).add_(largest);
  }

  double Range() const { return std::max<double>(kLeastMeasuredRange, accum_.item<float>() / state_.item<float>()); }

  const Grid grid_;
  at::Tensor state_;
  at::Tensor accum_;
};

const QuantizerRegistration kMovingAverageAbsMax({
    .method = v1::MOVING_AVERAGE_ABS_MAX,
    .doc = "Moving average of max|x| over the training batches, bias-corrected; nothing is learned.",
    .targets = {QuantizerTarget::kActivation},
    .parameters = {{"activations.moving_rate", 0.9, 0, 1, "Decay of the moving average, both ends excluded."}},
    .make = [](const QuantizerSpec& spec) { return std::make_unique<MovingAverageAbsMax>(spec); },
});

}  // namespace
}  // namespace pactory::quant
