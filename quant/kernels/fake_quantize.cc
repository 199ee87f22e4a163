#include "quant/kernels/fake_quantize.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>
#include <limits>
#include <vector>

#include "quant/kernels/fake_quantize_loops.h"

namespace pactory::quant {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

// The loops run over memory in whatever order it lies, so any layout without gaps will do.
at::Tensor Dense(const at::Tensor& x) { return x.is_non_overlapping_and_dense() ? x : x.contiguous(); }

bool RunsInLoops(const at::Tensor& x) { return x.device().is_cpu() && x.scalar_type() == at::kFloat; }

at::Tensor Quantize(const at::Tensor& x, const at::Tensor& alpha, Grid grid) {
  if (RunsInLoops(x)) {
    at::Tensor dense = Dense(x);
    at::Tensor y = at::empty_like(dense);
    const float scale = alpha.item<float>() / static_cast<float>(grid.qmax);
    FakeQuantizeLoop(dense.const_data_ptr<float>(), y.mutable_data_ptr<float>(), dense.numel(), scale,
                     static_cast<float>(grid.qmin), static_cast<float>(grid.qmax));
    return y;
  }
  const at::Tensor scale = alpha / static_cast<double>(grid.qmax);
  return x.div(scale).clamp_(grid.qmin, grid.qmax).round_().mul_(scale);
}

struct ClipGradients {
  at::Tensor dx;
  at::Tensor dalpha;
};

ClipGradients ClipGradient(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& alpha, Grid grid) {
  const double ratio = static_cast<double>(grid.qmin) / static_cast<double>(grid.qmax);
  if (RunsInLoops(x)) {
    at::Tensor dense = Dense(x);
    at::Tensor gradient = dy;
    if (dy.strides() != dense.strides() || dy.scalar_type() != at::kFloat) gradient = at::empty_like(dense).copy_(dy);
    at::Tensor dx = at::empty_like(dense);
    const float upper = alpha.item<float>();
    const ClippedSums sums = ClipGradientLoop(gradient.const_data_ptr<float>(), dense.const_data_ptr<float>(),
                                              dx.mutable_data_ptr<float>(), dense.numel(),
                                              static_cast<float>(upper * ratio), upper);
    return {dx, at::full_like(alpha, sums.above + ratio * sums.below)};
  }
  const at::Tensor above = x.ge(alpha);
  const at::Tensor below = x.lt(alpha * ratio);
  const at::Tensor zero = at::zeros({}, dy.options());
  at::Tensor dx = at::where(above.logical_or(below), zero, dy);
  at::Tensor dalpha = at::where(above, dy, zero).sum() + ratio * at::where(below, dy, zero).sum();
  return {dx, dalpha.reshape(alpha.sizes())};
}

class LearnedFunction : public torch::autograd::Function<LearnedFunction> {
 public:
  static Variable forward(AutogradContext* context, const Variable& x, const Variable& alpha, int64_t qmin,
                          int64_t qmax) {
    // The value of alpha at this step: the optimizer changes the parameter in place later.
    context->save_for_backward({x, alpha.detach().clone()});
    context->saved_data["qmin"] = qmin;
    context->saved_data["qmax"] = qmax;
    return Quantize(x, alpha, {qmin, qmax});
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const Grid grid{context->saved_data["qmin"].toInt(), context->saved_data["qmax"].toInt()};
    ClipGradients result = ClipGradient(gradients[0], saved[0], saved[1], grid);
    return {result.dx, result.dalpha, Variable(), Variable()};
  }
};

class FixedFunction : public torch::autograd::Function<FixedFunction> {
 public:
  static Variable forward(AutogradContext* context, const Variable& x, double alpha, int64_t qmin, int64_t qmax) {
    context->save_for_backward({x});
    context->saved_data["alpha"] = alpha;
    context->saved_data["qmin"] = qmin;
    context->saved_data["qmax"] = qmax;
    return Quantize(x, at::full({1}, alpha, x.options()), {qmin, qmax});
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const Variable x = context->get_saved_variables()[0];
    const Grid grid{context->saved_data["qmin"].toInt(), context->saved_data["qmax"].toInt()};
    // The next float above alpha: alpha itself is then inside.
    const float upper = std::nextafter(static_cast<float>(context->saved_data["alpha"].toDouble()),
                                       std::numeric_limits<float>::infinity());
    ClipGradients result = ClipGradient(gradients[0], x, at::full({1}, upper, x.options()), grid);
    return {result.dx, Variable(), Variable(), Variable()};
  }
};

// The weights with the channel axis first, each channel one run of memory. Conv weights in channels_last order stay so.
at::Tensor ChannelRuns(const at::Tensor& weight, int64_t axis) {
  const at::Tensor moved = axis < 0 ? weight.detach().unsqueeze(0) : weight.detach().movedim(axis, 0);
  const bool outermost = moved.size(0) <= 1 || moved.stride(0) * moved.size(0) == moved.numel();
  return outermost && moved.is_non_overlapping_and_dense() ? moved : moved.contiguous();
}

at::Tensor ChannelsBack(const at::Tensor& runs, int64_t axis) {
  return axis < 0 ? runs.squeeze(0) : runs.movedim(0, axis);
}

at::Tensor ComposedScales(const at::Tensor& runs, int64_t qmax, double floor) {
  return runs.flatten(1).abs().amax({1}).clamp_min(floor).div(static_cast<double>(qmax));
}

class AbsMaxFunction : public torch::autograd::Function<AbsMaxFunction> {
 public:
  static Variable forward(AutogradContext* context, const Variable& weight, int64_t axis, int64_t qmax, double floor) {
    const at::Tensor runs = ChannelRuns(weight, axis);
    if (!RunsInLoops(runs)) {
      std::vector<int64_t> shape(runs.dim(), 1);
      shape[0] = runs.size(0);
      const at::Tensor scales = ComposedScales(runs, qmax, floor).reshape(shape);
      return ChannelsBack(runs.div(scales).round_().clamp_(-qmax, qmax).mul_(scales), axis);
    }
    at::Tensor result = at::empty_like(runs);
    at::Tensor scales = at::empty({runs.size(0)}, runs.options());
    QuantizeChannelsLoop(runs.const_data_ptr<float>(), result.mutable_data_ptr<float>(),
                         scales.mutable_data_ptr<float>(), runs.size(0), runs.numel() / runs.size(0),
                         static_cast<float>(qmax), static_cast<float>(floor));
    return ChannelsBack(result, axis);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    return {gradients[0], Variable(), Variable(), Variable()};
  }
};

}  // namespace

at::Tensor FakeQuantizeLearned(const at::Tensor& x, const at::Tensor& alpha, Grid grid) {
  return LearnedFunction::apply(x, alpha, grid.qmin, grid.qmax);
}

at::Tensor FakeQuantizeFixed(const at::Tensor& x, double alpha, Grid grid) {
  return FixedFunction::apply(x, alpha, grid.qmin, grid.qmax);
}

at::Tensor FakeQuantizeAbsMax(const at::Tensor& weight, int64_t channel_axis, int64_t qmax, double floor) {
  return AbsMaxFunction::apply(weight, channel_axis, qmax, floor);
}

at::Tensor AbsMaxScales(const at::Tensor& weight, int64_t channel_axis, int64_t qmax, double floor) {
  const at::Tensor runs = ChannelRuns(weight, channel_axis);
  if (!RunsInLoops(runs)) return ComposedScales(runs, qmax, floor).to(at::kCPU, at::kFloat);
  at::Tensor scales = at::empty({runs.size(0)}, runs.options());
  QuantizeChannelsLoop(runs.const_data_ptr<float>(), nullptr, scales.mutable_data_ptr<float>(), runs.size(0),
                       runs.numel() / runs.size(0), static_cast<float>(qmax), static_cast<float>(floor));
  return scales;
}

}  // namespace pactory::quant
