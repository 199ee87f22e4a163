#include <ATen/ATen.h>

#include <algorithm>

#include "quant/quantizers/measured_abs_max.h"
#include "quant/quantizers/registry.h"

namespace pactory::quant {
namespace {

// PaddleSlim's range_abs_max: the largest of max|x| over the last `window` batches. Measured in training, frozen in evaluation
// and export. Calibration's threshold counts as the first batch.
class RangeAbsMax : public MeasuredAbsMax {
 public:
  explicit RangeAbsMax(const QuantizerSpec& spec)
      : MeasuredAbsMax(spec),
        batches_(at::ones({1}, at::kLong)),
        maxima_(at::zeros({spec.window}, at::kFloat)) {
    maxima_[0].fill_(spec.threshold);
  }

  std::map<std::string, at::Tensor> State() override { return {{"batches", batches_}, {"maxima", maxima_}}; }

 private:
  void Measure(double largest) override {
    maxima_[batches_.item<int64_t>() % spec().window].fill_(largest);
    batches_.add_(1);
  }

  double Range() const override { return std::max(kLeastMeasuredRange, maxima_.max().item<double>()); }

  at::Tensor batches_;
  // A ring: batch i stands at i % window.
  at::Tensor maxima_;
};

const QuantizerRegistration kRangeAbsMax({
    .method = v1::RANGE_ABS_MAX,
    .doc = "Largest max|x| of the last `activations.window` training batches; nothing is learned.",
    .targets = {QuantizerTarget::kActivation},
    .make = [](const QuantizerSpec& spec) { return std::make_unique<RangeAbsMax>(spec); },
});

}  // namespace
}  // namespace pactory::quant
