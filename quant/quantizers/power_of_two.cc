#include <ATen/ATen.h>

#include <cmath>

#include "quant/kernels/fake_quantize.h"
#include "quant/quantizers/registry.h"

namespace pactory::quant {
namespace {

// The calibrated range, raised until the step of the grid is a power of two, so that a shift rescales the sums.
class PowerOfTwo : public Quantizer {
 public:
  explicit PowerOfTwo(const QuantizerSpec& spec)
      : Quantizer(spec),
        grid_(ActivationGrid(spec.bits, spec.signedness)),
        scale_(std::exp2(std::ceil(std::log2(spec.threshold / static_cast<double>(grid_.qmax))))) {}

  Grid grid() const override { return grid_; }

  at::Tensor Apply(const at::Tensor& x) override { return FakeQuantizeFixed(x, Range(), grid_); }

  std::optional<PointwiseStage> Stage() const override { return FakeQuantizeFixedStage(Range(), grid_); }

  at::Tensor Scales(const at::Tensor&) const override { return at::full({1}, static_cast<float>(scale_)); }

 private:
  double Range() const { return scale_ * static_cast<double>(grid_.qmax); }

  const Grid grid_;
  const double scale_;
};

const QuantizerRegistration kPowerOfTwo({
    .method = v1::POWER_OF_TWO,
    .doc = "The calibrated threshold, raised until the step is a power of two (Jain et al. 2020, without learning). Nothing is learned.",
    .targets = {QuantizerTarget::kActivation},
    .make = [](const QuantizerSpec& spec) -> std::unique_ptr<Quantizer> { return std::make_unique<PowerOfTwo>(spec); },
});

}  // namespace
}  // namespace pactory::quant
