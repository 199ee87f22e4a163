#include "quant/kernels/fake_quantize.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>
#include <limits>
#include <optional>
#include <vector>

#include "quant/kernels/weight_loops.h"

namespace pactory::quant {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

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

// The upper end is the next float above alpha: alpha itself is then inside.
Range InclusiveRangeOf(const at::Tensor& alpha, Grid grid) {
  Range range = RangeOf(alpha, grid);
  range.upper = at::nextafter(range.upper, at::full_like(range.upper, std::numeric_limits<double>::infinity()));
  return range;
}

PointwiseStage StageOf(const Range& range) {
  return {.kind = PointwiseStage::Kind::kFakeQuantize,
          .scale = range.scale.item<float>(),
          .first = range.first.item<float>(),
          .last = range.last.item<float>(),
          .lower = range.lower.item<float>(),
          .upper = range.upper.item<float>()};
}

template <typename MakeStage>
std::optional<at::Tensor> InLoops(const at::Tensor& x, const MakeStage& make_stage) {
  if (!RunsInLoops(x)) return std::nullopt;
  return RunPointwiseChain(x, {make_stage()});
}

at::Tensor Quantize(const at::Tensor& x, const Range& range) {
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

RangeGradients GradientsOf(const at::Tensor& dy, const at::Tensor& x, const Range& range, RangeGradient gradient) {
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

// For devices and types that the loops do not serve.
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
    const Range range = InclusiveRangeOf(at::full({1}, context->saved_data["alpha"].toDouble(), x.options()), grid);
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

PointwiseStage FakeQuantizeLearnedStage(const at::Tensor& alpha, Grid grid, RangeGradient gradient) {
  const double ratio = static_cast<double>(grid.qmin) / static_cast<double>(grid.qmax);
  const double rounding = gradient == RangeGradient::kClipAndRounding ? 1 / static_cast<double>(grid.qmax) : 0;
  PointwiseStage stage = StageOf(RangeOf(alpha.detach(), grid));
  stage.ends = {{.value = alpha, .above = 1, .below = ratio, .rounding = rounding}};
  return stage;
}

PointwiseStage FakeQuantizeBoundsStage(const at::Tensor& low, const at::Tensor& high, int64_t levels, RangeGradient gradient) {
  const double rounding = gradient == RangeGradient::kClipAndRounding ? 1 / static_cast<double>(levels) : 0;
  PointwiseStage stage = StageOf(RangeOf(low.detach(), high.detach(), levels));
  stage.ends = {{.value = low, .below = 1, .rounding = -rounding}, {.value = high, .above = 1, .rounding = rounding}};
  return stage;
}

PointwiseStage FakeQuantizeFixedStage(double alpha, Grid grid) {
  return StageOf(InclusiveRangeOf(at::full({1}, alpha, at::kFloat), grid));
}

at::Tensor FakeQuantizeLearned(const at::Tensor& x, const at::Tensor& alpha, Grid grid, RangeGradient gradient) {
  if (const auto y = InLoops(x, [&] { return FakeQuantizeLearnedStage(alpha, grid, gradient); }); y.has_value()) return *y;
  return LearnedFunction::apply(x, alpha, grid.qmin, grid.qmax, static_cast<int64_t>(gradient));
}

at::Tensor FakeQuantizeBounds(const at::Tensor& x, const at::Tensor& low, const at::Tensor& high, int64_t levels,
                              RangeGradient gradient) {
  if (const auto y = InLoops(x, [&] { return FakeQuantizeBoundsStage(low, high, levels, gradient); }); y.has_value()) return *y;
  return BoundsFunction::apply(x, low, high, levels, static_cast<int64_t>(gradient));
}

Grid GridOfBounds(const at::Tensor& low, const at::Tensor& high, int64_t levels) {
  const auto first = RangeOf(low.detach(), high.detach(), levels).first.item<int64_t>();
  return {first, first + levels};
}

at::Tensor FakeQuantizeFixed(const at::Tensor& x, double alpha, Grid grid) {
  if (const auto y = InLoops(x, [&] { return FakeQuantizeFixedStage(alpha, grid); }); y.has_value()) return *y;
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
