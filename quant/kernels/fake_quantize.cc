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

// A true division: dividing a CUDA tensor by a plain number multiplies by its reciprocal, which is another float.
at::Tensor Divided(const at::Tensor& value, int64_t by) { return value / at::full_like(value, by); }

// A grid on x's device, as tensors of one element.
struct Range {
  at::Tensor scale;
  // First and last integer.
  at::Tensor first;
  at::Tensor last;
  // Values below `lower`, or not below `upper`, are clipped.
  at::Tensor lower;
  at::Tensor upper;
};

Range RangeOf(const at::Tensor& alpha, Grid grid) {
  const double ratio = static_cast<double>(grid.qmin) / static_cast<double>(grid.qmax);
  return {Divided(alpha, grid.qmax), at::full_like(alpha, grid.qmin), at::full_like(alpha, grid.qmax), alpha * ratio, alpha};
}

Range RangeOf(const at::Tensor& low, const at::Tensor& high, int64_t levels) {
  const at::Tensor scale = Divided(high - low, levels);
  const at::Tensor first = (low / scale).round();
  const at::Tensor last = first + levels;
  return {scale, first, last, first * scale, last * scale};
}

at::Tensor Quantize(const at::Tensor& x, const Range& range) {
  if (RunsInLoops(x)) {
    at::Tensor dense = Dense(x);
    at::Tensor y = at::empty_like(dense);
    FakeQuantizeLoop(dense.const_data_ptr<float>(), y.mutable_data_ptr<float>(), dense.numel(), range.scale.item<float>(),
                     range.first.item<float>(), range.last.item<float>());
    return y;
  }
  return x.div(range.scale).round_().clamp_(range.first, range.last).mul_(range.scale);
}

// dx, and sums over the upstream gradient, of one element each on x's device.
struct RangeGradients {
  at::Tensor dx;
  at::Tensor above;
  at::Tensor below;
  // Undefined for kClip.
  at::Tensor rounding;
};

RangeGradients GradientsOfLoops(const at::Tensor& dy, const at::Tensor& x, const Range& range, RangeGradient gradient) {
  at::Tensor dense = Dense(x);
  at::Tensor upstream = dy;
  if (dy.strides() != dense.strides() || dy.scalar_type() != at::kFloat) upstream = at::empty_like(dense).copy_(dy);
  RangeGradients result;
  result.dx = at::empty_like(dense);
  const float* from = upstream.const_data_ptr<float>();
  const float* values = dense.const_data_ptr<float>();
  float* to = result.dx.mutable_data_ptr<float>();
  const auto number = [&](double value) { return at::full_like(range.scale, value); };
  if (gradient == RangeGradient::kClip) {
    const ClippedSums sums =
        ClipGradientLoop(from, values, to, dense.numel(), range.lower.item<float>(), range.upper.item<float>());
    result.above = number(sums.above);
    result.below = number(sums.below);
    return result;
  }
  const StepSums sums = StepGradientLoop(from, values, to, dense.numel(), range.lower.item<float>(),
                                         range.upper.item<float>(), range.scale.item<float>());
  result.above = number(sums.above);
  result.below = number(sums.below);
  result.rounding = number(sums.rounding);
  return result;
}

RangeGradients GradientsOf(const at::Tensor& dy, const at::Tensor& x, const Range& range, RangeGradient gradient) {
  if (RunsInLoops(x)) return GradientsOfLoops(dy, x, range, gradient);
  const at::Tensor above = x.ge(range.upper);
  const at::Tensor below = x.lt(range.lower);
  const at::Tensor zero = at::zeros({}, dy.options());
  RangeGradients result;
  result.dx = at::where(above.logical_or(below), zero, dy);
  result.above = at::where(above, dy, zero).sum().reshape({1});
  result.below = at::where(below, dy, zero).sum().reshape({1});
  if (gradient == RangeGradient::kClipAndRounding) {
    const at::Tensor steps = x / range.scale;
    result.rounding = (result.dx * (steps.round() - steps)).sum().reshape({1});
  }
  return result;
}

class LearnedFunction : public torch::autograd::Function<LearnedFunction> {
 public:
  static Variable forward(AutogradContext* context, const Variable& x, const Variable& alpha, int64_t qmin,
                          int64_t qmax, int64_t gradient) {
    // The value of alpha at this step: the optimizer changes the parameter in place later.
    context->save_for_backward({x, alpha.detach().clone()});
    context->saved_data["qmin"] = qmin;
    context->saved_data["qmax"] = qmax;
    context->saved_data["gradient"] = gradient;
    return Quantize(x, RangeOf(alpha, {qmin, qmax}));
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const Grid grid{context->saved_data["qmin"].toInt(), context->saved_data["qmax"].toInt()};
    const auto form = static_cast<RangeGradient>(context->saved_data["gradient"].toInt());
    const RangeGradients result = GradientsOf(gradients[0], saved[0], RangeOf(saved[1], grid), form);
    const double ratio = static_cast<double>(grid.qmin) / static_cast<double>(grid.qmax);
    at::Tensor dalpha = result.above + ratio * result.below;
    if (form == RangeGradient::kClipAndRounding) dalpha = dalpha + result.rounding / static_cast<double>(grid.qmax);
    return {result.dx, dalpha.reshape(saved[1].sizes()), Variable(), Variable(), Variable()};
  }
};

class BoundsFunction : public torch::autograd::Function<BoundsFunction> {
 public:
  static Variable forward(AutogradContext* context, const Variable& x, const Variable& low, const Variable& high,
                          int64_t levels, int64_t gradient) {
    context->save_for_backward({x, low.detach().clone(), high.detach().clone()});
    context->saved_data["levels"] = levels;
    context->saved_data["gradient"] = gradient;
    return Quantize(x, RangeOf(low, high, levels));
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const int64_t levels = context->saved_data["levels"].toInt();
    const auto form = static_cast<RangeGradient>(context->saved_data["gradient"].toInt());
    const RangeGradients result = GradientsOf(gradients[0], saved[0], RangeOf(saved[1], saved[2], levels), form);
    at::Tensor dlow = result.below;
    at::Tensor dhigh = result.above;
    if (form == RangeGradient::kClipAndRounding) {
      const at::Tensor rounding = result.rounding / static_cast<double>(levels);
      dlow = dlow - rounding;
      dhigh = dhigh + rounding;
    }
    return {result.dx, dlow.reshape(saved[1].sizes()), dhigh.reshape(saved[2].sizes()), Variable(), Variable()};
  }
};

class FixedFunction : public torch::autograd::Function<FixedFunction> {
 public:
  static Variable forward(AutogradContext* context, const Variable& x, double alpha, int64_t qmin, int64_t qmax) {
    context->save_for_backward({x});
    context->saved_data["alpha"] = alpha;
    context->saved_data["qmin"] = qmin;
    context->saved_data["qmax"] = qmax;
    return Quantize(x, RangeOf(at::full({1}, alpha, x.options()), {qmin, qmax}));
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const Variable x = context->get_saved_variables()[0];
    const Grid grid{context->saved_data["qmin"].toInt(), context->saved_data["qmax"].toInt()};
    Range range = RangeOf(at::full({1}, context->saved_data["alpha"].toDouble(), x.options()), grid);
    // The next float above alpha: alpha itself is then inside.
    range.upper = at::nextafter(range.upper, at::full_like(range.upper, std::numeric_limits<double>::infinity()));
    const RangeGradients result = GradientsOf(gradients[0], x, range, RangeGradient::kClip);
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

// One value per channel, shaped to broadcast along the channel axis of a weight.
at::Tensor AlongChannels(const at::Tensor& values, const at::Tensor& weight, int64_t axis) {
  std::vector<int64_t> shape(weight.dim(), 1);
  if (axis >= 0) shape[axis] = values.numel();
  return values.reshape(shape);
}

class ChannelsFunction : public torch::autograd::Function<ChannelsFunction> {
 public:
  static Variable forward(AutogradContext* context, const Variable& weight, const Variable& ranges, int64_t axis,
                          int64_t qmax) {
    context->save_for_backward({weight, ranges});
    context->saved_data["axis"] = axis;
    context->saved_data["qmax"] = qmax;
    const at::Tensor scales = Divided(AlongChannels(ranges, weight, axis), qmax);
    return weight.div(scales).round_().clamp_(-qmax, qmax).mul_(scales);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor& dy = gradients[0];
    const at::Tensor& weight = saved[0];
    const int64_t axis = context->saved_data["axis"].toInt();
    const int64_t qmax = context->saved_data["qmax"].toInt();
    const at::Tensor ranges = AlongChannels(saved[1], weight, axis);
    const at::Tensor above = weight.ge(ranges);
    const at::Tensor below = weight.lt(-ranges);
    const at::Tensor zero = at::zeros({}, dy.options());
    const at::Tensor inside = at::where(above.logical_or(below), zero, dy);
    const at::Tensor steps = weight / Divided(ranges, qmax);
    at::Tensor moved = inside * (steps.round() - steps) / static_cast<double>(qmax);
    moved = at::where(above, dy, at::where(below, -dy, moved));
    const double shared = static_cast<double>(weight.numel()) / static_cast<double>(ranges.numel());
    const at::Tensor sums = moved.sum_to_size(ranges.sizes()) / std::sqrt(shared * static_cast<double>(qmax));
    return {inside, sums.reshape(saved[1].sizes()), Variable(), Variable()};
  }
};

}  // namespace

at::Tensor FakeQuantizeLearned(const at::Tensor& x, const at::Tensor& alpha, Grid grid, RangeGradient gradient) {
  return LearnedFunction::apply(x, alpha, grid.qmin, grid.qmax, static_cast<int64_t>(gradient));
}

at::Tensor FakeQuantizeBounds(const at::Tensor& x, const at::Tensor& low, const at::Tensor& high, int64_t levels,
                              RangeGradient gradient) {
  return BoundsFunction::apply(x, low, high, levels, static_cast<int64_t>(gradient));
}

Grid GridOfBounds(const at::Tensor& low, const at::Tensor& high, int64_t levels) {
  const auto first = RangeOf(low.detach(), high.detach(), levels).first.item<int64_t>();
  return {first, first + levels};
}

at::Tensor FakeQuantizeFixed(const at::Tensor& x, double alpha, Grid grid) {
  return FixedFunction::apply(x, alpha, grid.qmin, grid.qmax);
}

at::Tensor FakeQuantizeAbsMax(const at::Tensor& weight, int64_t channel_axis, int64_t qmax, double floor) {
  return AbsMaxFunction::apply(weight, channel_axis, qmax, floor);
}

at::Tensor FakeQuantizeChannels(const at::Tensor& weight, const at::Tensor& ranges, int64_t channel_axis, int64_t qmax) {
  return ChannelsFunction::apply(weight, ranges, channel_axis, qmax);
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
