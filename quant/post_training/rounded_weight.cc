#include "quant/post_training/rounded_weight.h"

#include <ATen/ATen.h>

#include <vector>

namespace pactory::quant {
namespace {

// How far the sigmoid is stretched beyond 0 and 1, so that it reaches them.
constexpr double kStretchedLow = -0.1;
constexpr double kStretchedHigh = 1.1;

at::Tensor Broadcast(const at::Tensor& scales, const at::Tensor& weight, int64_t axis) {
  std::vector<int64_t> shape(weight.dim(), 1);
  if (scales.numel() > 1) shape[axis] = scales.numel();
  return scales.reshape(shape);
}

// V with h(V) = share.
at::Tensor VariableOf(const at::Tensor& share) {
  const at::Tensor p = (share - kStretchedLow) / (kStretchedHigh - kStretchedLow);
  return (p / (1 - p)).log();
}

}  // namespace

RoundedWeight::RoundedWeight(const at::Tensor& weight, const at::Tensor& scales, int64_t axis, int64_t qmax)
    : steps_(weight.detach() / Broadcast(scales, weight, axis)),
      scales_(Broadcast(scales, weight, axis)),
      qmax_(static_cast<double>(qmax)),
      variable_(VariableOf(steps_ - steps_.floor()).requires_grad_(true)) {}

at::Tensor RoundedWeight::Share() const {
  return (variable_.sigmoid() * (kStretchedHigh - kStretchedLow) + kStretchedLow).clamp(0, 1);
}

at::Tensor RoundedWeight::OnGrid(const at::Tensor& integers) const { return integers.clamp(-qmax_, qmax_) * scales_; }

at::Tensor RoundedWeight::Soft() const { return OnGrid(steps_.floor() + Share()); }

at::Tensor RoundedWeight::Hard() const { return OnGrid(steps_.floor() + Share().detach().ge(0.5)); }

at::Tensor RoundedWeight::Nearest() const { return OnGrid(steps_.round()); }

at::Tensor RoundedWeight::Undecided(double beta) const { return (1 - (2 * Share() - 1).abs().pow(beta)).sum(); }

}  // namespace pactory::quant
