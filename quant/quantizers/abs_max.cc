#include <ATen/ATen.h>

#include "quant/kernels/fake_quantize.h"
#include "quant/quantizers/registry.h"
#include "quant/quantizers/weight_abs_max.h"

namespace pactory::quant {
namespace {

// A range that calibration measured and nothing changes.
class FixedRange : public Quantizer {
 public:
  explicit FixedRange(const QuantizerSpec& spec) : Quantizer(spec), grid_(ActivationGrid(spec.bits, spec.signedness)) {}

  Grid grid() const override { return grid_; }

  at::Tensor Apply(const at::Tensor& x) override { return FakeQuantizeFixed(x, spec().threshold, grid_); }

  std::optional<PointwiseStage> Stage() const override { return FakeQuantizeFixedStage(spec().threshold, grid_); }

  at::Tensor Scales(const at::Tensor&) const override {
    return at::full({1}, static_cast<float>(spec().threshold) / static_cast<float>(grid_.qmax));
  }

 private:
  const Grid grid_;
};

const QuantizerRegistration kAbsMax({
    .method = v1::ABS_MAX,
    .doc = "Activations: the calibrated threshold. Weights: max|w| of the whole tensor. Nothing is learned.",
    .targets = {QuantizerTarget::kWeight, QuantizerTarget::kActivation},
    .make = [](const QuantizerSpec& spec) -> std::unique_ptr<Quantizer> {
      if (spec.target == QuantizerTarget::kWeight) return std::make_unique<WeightAbsMax>(spec);
      return std::make_unique<FixedRange>(spec);
    },
});

}  // namespace
}  // namespace pactory::quant
