// What MOVING_AVERAGE_ABS_MAX and RANGE_ABS_MAX share: a range that follows max|x| of the training batches, frozen in evaluation
// and export. Used by their files alone.
#pragma once

#include <ATen/ATen.h>

#include <cmath>

#include "quant/kernels/fake_quantize.h"
#include "quant/quantizers/grid.h"
#include "quant/quantizers/quantizer.h"

namespace pactory::quant {

/// Fake quantization over a measured range, symmetric or from 0. Not thread-safe.
class MeasuredAbsMax : public Quantizer {
 public:
  explicit MeasuredAbsMax(const QuantizerSpec& spec) : Quantizer(spec), grid_(ActivationGrid(spec.bits, spec.signedness)) {}

  Grid grid() const override { return grid_; }

  at::Tensor Apply(const at::Tensor& x) override {
    if (mode() == QuantizerMode::kTraining) {
      const double largest = x.detach().abs().max().item<double>();
      // A batch with NaN or infinity is no measurement; the loss shows it to the trainer.
      if (std::isfinite(largest)) Measure(largest);
    }
    return FakeQuantizeFixed(x, Range(), grid_);
  }

  std::optional<PointwiseStage> Stage() const override {
    if (mode() == QuantizerMode::kTraining) return std::nullopt;
    return FakeQuantizeFixedStage(Range(), grid_);
  }

  at::Tensor Scales(const at::Tensor&) const override {
    return at::full({1}, static_cast<float>(Range()) / static_cast<float>(grid_.qmax));
  }

 private:
  /// Takes in max|x| of a batch.
  virtual void Measure(double largest) = 0;

  /// The range now, at least kLeastMeasuredRange.
  virtual double Range() const = 0;

  const Grid grid_;
};

}  // namespace pactory::quant
