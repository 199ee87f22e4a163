// A weight whose rounding is learned: the rectified sigmoid of AdaRound (Nagel et al. 2020, equations 21 to 24). Used by
// learn_rounding. Not thread-safe.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace pactory::quant {

/// W_q = s * clamp(floor(W / s) + h(V), -qmax, qmax), h(V) = clamp(1.2 * sigmoid(V) - 0.1, 0, 1); V starts where h(V) is what
/// floor leaves of W / s.
class RoundedWeight {
 public:
  /// `scales`: one in all, or one per channel of `axis`; on the weight's device.
  RoundedWeight(const at::Tensor& weight, const at::Tensor& scales, int64_t axis, int64_t qmax);

  /// What is learned, a leaf of the weight's shape.
  at::Tensor& variable() { return variable_; }

  /// The weight with h(V) as it is, differentiable in V.
  at::Tensor Soft() const;
  /// The weight with h(V) rounded to 0 or 1: values of the grid.
  at::Tensor Hard() const;
  /// The weight rounded half to even, as without learning.
  at::Tensor Nearest() const;

  /// sum(1 - |2 h(V) - 1|^beta): 0 where each h(V) is 0 or 1.
  at::Tensor Undecided(double beta) const;

 private:
  at::Tensor Share() const;
  at::Tensor OnGrid(const at::Tensor& integers) const;

  // W / s.
  const at::Tensor steps_;
  // Shaped to broadcast.
  const at::Tensor scales_;
  const double qmax_;
  at::Tensor variable_;
};

}  // namespace pactory::quant
