#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "quant/kernels/fake_quantize.h"
#include "quant/quantizers/registry.h"

namespace pactory::quant {
namespace {

// PaddleSlim's range_abs_max: the largest of max|x| over the last `window` batches. Measured in training, frozen in evaluation
// and export. Calibration's threshold counts as the first batch.
class RangeAbsMax : public Quantizer {
 public:
  explicit RangeAbsMax(const QuantizerSpec& spec)
      : Quantizer(spec),
        grid_(ActivationGrid(spec.bits, spec.signedness)),
        batches_(at::ones({1}, at::kLong)),
        maxima_(at::zeros({spec.window}, at::kFloat)) {
    maxima_[0].fill_(spec.threshold);
  }

  Grid grid() const override { return grid_; }

  at::Tensor Apply(const at::Tensor& x) override {
    if (mode() == QuantizerMode::kTraining) Measure(x);
    return FakeQuantizeFixed(x, Range(), grid_);
  }

  at::Tensor Scales(const at::Tensor&) const override {
    return at::full({1}, static_cast<float>(Range()) / static_cast<float>(grid_.qmax));
  }

  std::map<std::string, at::Tensor> State() override { return {{"batches", batches_}, {"maxima", maxima_}}; }

 private:
  void Measure(const at::Tensor& x) {
    const double largest = x.detach().abs().max().item<double>();
    // A batch with NaN or infinity is no measurement; the loss shows it to the trainer.
    if (!std::isfinite(largest)) return;
    maxima_[batches_.item<int64_t>() % spec().window].fill_(largest);
    batches_.add_(1);
  }

  double Range() const { return std::max(kLeastMeasuredRange, maxima_.max().item<double>()); }

  const Grid grid_;
  at::Tensor batches_;
  // A ring: batch i stands at i % window.
  at::Tensor maxima_;
};

const QuantizerRegistration kRangeAbsMax({
    .method = v1::RANGE_ABS_MAX,
    .doc = "Largest max|x| of the last `activations.window` training batches; nothing is learned.",
    .targets = {QuantizerTarget::kActivation},
    .parameters = {{"activations.window", 10000, 1, 1e6, "Batches that the range looks back."}},
    .make = [](const QuantizerSpec& spec) { return std::make_unique<RangeAbsMax>(spec); },
});

}  // namespace
}  // namespace pactory::quant
