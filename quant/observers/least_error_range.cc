#include "quant/observers/least_error_range.h"

#include <ATen/ATen.h>

#include <limits>

namespace pactory::quant {
namespace {

constexpr int kRangeCandidates = 100;
// Keeps the step of an all-zero channel from being 0.
constexpr double kLeastStep = 1e-30;

}  // namespace

at::Tensor LeastErrorRanges(const at::Tensor& weight, int64_t channel_axis, int64_t qmax) {
  const at::Tensor values = weight.detach().to(at::kFloat);
  const at::Tensor rows = channel_axis < 0 ? values.reshape({1, -1}) : values.movedim(channel_axis, 0).flatten(1).contiguous();
  const at::Tensor largest = rows.abs().amax({1}, /*keepdim=*/true);
  at::Tensor best = largest.clone();
  at::Tensor least = at::full_like(largest, std::numeric_limits<double>::infinity());
  const double steps = static_cast<double>(qmax);
  // From the largest down, so that of equal ones the one that clips nothing wins.
  for (int i = kRangeCandidates; i > 0; --i) {
    const at::Tensor range = largest * (static_cast<double>(i) / kRangeCandidates);
    const at::Tensor step = (range / steps).clamp_min_(kLeastStep);
    const at::Tensor error = rows.div(step).round_().clamp_(-steps, steps).mul_(step).sub_(rows).square_().sum({1}, true);
    const at::Tensor better = error.lt(least);
    best = at::where(better, range, best);
    least = at::where(better, error, least);
  }
  return best.reshape({-1});
}

}  // namespace pactory::quant
