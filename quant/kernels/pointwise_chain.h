// Chains of elementwise ops run as one, forwards and backwards: memory is read and written once for all of them. Fake quantization
// thus comes next to free beside an activation or a sum. Float tensors on CPU. Thread-safe.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <optional>
#include <vector>

namespace pactory::quant {

/// An end of a learned range and its gradient: dend = above * A + below * B + rounding * R, with A and B the sums of the gradient
/// over the elements that the range cuts off at its ends, and R that of dy * (round_half_even(x / s) - x / s) over the others.
struct LearnedEnd {
  /// A leaf of one element.
  at::Tensor value;
  double above = 0;
  double below = 0;
  double rounding = 0;
};

/// Stages that a chain may have.
constexpr size_t kMostChainStages = 8;

/// One op of a chain; made by the functions below.
struct PointwiseStage {
  enum class Kind { kFakeQuantize, kClip, kHardSwish, kAdd, kMultiply };
  Kind kind = Kind::kClip;
  /// kFakeQuantize: y = clamp(round_half_even(x / scale), first, last) * scale. kClip: y = clamp(x, first, last).
  float scale = 1;
  float first = 0;
  float last = 0;
  /// kFakeQuantize, kClip: dy/dx = 1 for lower <= x < upper, else 0.
  float lower = 0;
  float upper = 0;
  /// kFakeQuantize: what it learns.
  std::vector<LearnedEnd> ends = {};
  /// kAdd, kMultiply: the other operand, of the first one's shape, or with one value for each sample and channel.
  at::Tensor operand = {};
};

/// y = max(x, 0); no gradient at 0 (ONNX Relu).
PointwiseStage ReluStage();
/// y = min(max(x, low), high); both ends pass the gradient (ONNX Clip).
PointwiseStage ClipStage(double low, double high);
/// y = x * min(max(x + 3, 0), 6) / 6 (ONNX HardSwish).
PointwiseStage HardSwishStage();
PointwiseStage AddStage(const at::Tensor& operand);
PointwiseStage MultiplyStage(const at::Tensor& operand);

/// Runs x through the stages. Nothing where the loops do not serve: another device or type than float on CPU, shapes that broadcast
/// otherwise, operands that lie otherwise in memory, more stages than kMostChainStages. Gradients go to x, the operands and the learned ends.
std::optional<at::Tensor> RunPointwiseChain(at::Tensor x, std::vector<PointwiseStage> stages);

}  // namespace pactory::quant
