#include <ATen/ATen.h>

#include <algorithm>

#include "quant/quantizers/measured_abs_max.h"
#include "quant/quantizers/registry.h"

namespace pactory::quant {
namespace {

// state = rate * state + 1; accum = rate * accum + max|x|; range = accum / state: a moving average without bias towards
// its start. Measured in training, frozen in evaluation and export.
class MovingAverageAbsMax : public MeasuredAbsMax {
 public:
  explicit MovingAverageAbsMax(const QuantizerSpec& spec)
      : MeasuredAbsMax(spec),
        state_(at::ones({1})),
        accum_(at::full({1}, spec.threshold, at::kFloat)) {}

  std::map<std::string, at::Tensor> State() override { return {{"state", state_}, {"accum", accum_}}; }

 private:
  void Measure(double largest) override {
    state_.mul_(spec().moving_rate).add_(1);
    accum_.mul_(spec().moving_rate).add_(largest);
  }

  double Range() const override { return std::max<double>(kLeastMeasuredRange, accum_.item<float>() / state_.item<float>()); }

  at::Tensor state_;
  at::Tensor accum_;
};

const QuantizerRegistration kMovingAverageAbsMax({
    .method = v1::MOVING_AVERAGE_ABS_MAX,
    .doc = "Moving average of max|x| over the training batches, bias-corrected; nothing is learned.",
    .targets = {QuantizerTarget::kActivation},
    .make = [](const QuantizerSpec& spec) { return std::make_unique<MovingAverageAbsMax>(spec); },
});

}  // namespace
}  // namespace pactory::quant
