// Resize and its forerunner Upsample.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "quant/ops/arguments.h"
#include "quant/ops/registry.h"

namespace pactory::quant {
namespace {

// What opset 10 leaves open, as ONNX Runtime has it: ceil where an axis shrinks, floor where it grows.
constexpr char kOutwards[] = "outwards";

// The attributes of ONNX Resize that say how a coordinate is found and weighed.
struct Interpolation {
  std::string mode = "nearest";
  std::string coordinates = "half_pixel";
  std::string nearest = "round_prefer_floor";
  std::string aspect = "stretch";
  double cubic_a = -0.75;
  double extrapolation = 0;
  bool antialias = false;
  bool exclude_outside = false;
};

// One dimension to resize.
struct AxisPlan {
  int64_t axis;
  int64_t input;
  int64_t output;
  double scale;
  double roi_start;
  double roi_end;
};

// Where output position `at` lies in the input, by coordinate_transformation_mode. In float32, as ONNX Runtime has it: where a
// coordinate falls on a tie, its rounding decides which pixel is the nearest.
float SourceCoordinate(const AxisPlan& plan, const std::string& mode, int64_t at) {
  const float x = static_cast<float>(at), scale = static_cast<float>(plan.scale);
  const float input = static_cast<float>(plan.input), output = static_cast<float>(plan.output);
  if (mode == "asymmetric") return x / scale;
  if (mode == "align_corners") return plan.output == 1 ? 0 : x * (input - 1) / (output - 1);
  if (mode == "tf_crop_and_resize") {
    const float start = static_cast<float>(plan.roi_start), end = static_cast<float>(plan.roi_end);
    if (plan.output == 1) return 0.5f * (start + end) * (input - 1);
    return start * (input - 1) + x * (end - start) * (input - 1) / (output - 1);
  }
  const float half_pixel = (x + 0.5f) / scale - 0.5f;
  if (mode == "pytorch_half_pixel") return plan.output > 1 ? half_pixel : 0;
  if (mode == "half_pixel_symmetric") return input / 2 * (1 - output / (scale * input)) + half_pixel;
  return half_pixel;
}

int64_t NearestIndex(float x, const std::string& mode) {
  const float below = std::floor(x);
  const float ratio = x - below;
  if (ratio == 0 || mode == "floor") return static_cast<int64_t>(below);
  const bool up = mode == "ceil" || (mode == "round_prefer_ceil" ? ratio >= 0.5 : ratio > 0.5);
  return static_cast<int64_t>(below) + (up ? 1 : 0);
}

// The kernels: a triangle of half width 1, and Keys' cubic of half width 2.
double FilterWeight(const Interpolation& how, double t) {
  t = std::abs(t);
  if (how.mode == "linear") return std::max(0.0, 1 - t);
  const double a = how.cubic_a;
  if (t <= 1) return ((a + 2) * t - (a + 3)) * t * t + 1;
  return t < 2 ? ((a * t - 5 * a) * t + 8 * a) * t - 4 * a : 0;
}

// Input positions and weights of every output position: `taps` of each.
struct Taps {
  int64_t taps = 1;
  std::vector<int64_t> indices;
  std::vector<float> weights;
};

Taps MakeTaps(const AxisPlan& plan, const Interpolation& how) {
  Taps result;
  if (how.mode == "nearest") {
    const std::string nearest = how.nearest != kOutwards ? how.nearest : plan.scale < 1 ? "ceil" : "floor";
    for (int64_t at = 0; at < plan.output; ++at) {
      const int64_t index = NearestIndex(SourceCoordinate(plan, how.coordinates, at), nearest);
      result.indices.push_back(std::clamp<int64_t>(index, 0, plan.input - 1));
    }
    return result;
  }
  // Antialiasing widens the filter by the factor that the image shrinks.
  const double stretch = how.antialias ? std::min(plan.scale, 1.0) : 1.0;
  const double radius = how.mode == "linear" ? 1 : 2;
  const int64_t first = static_cast<int64_t>(std::floor(-radius / stretch)) + 1;
  result.taps = 2 - 2 * first;
  for (int64_t at = 0; at < plan.output; ++at) {
    const double x = SourceCoordinate(plan, how.coordinates, at);
    const double below = std::floor(x);
    std::vector<double> weights;
    double sum = 0;
    for (int64_t tap = first; tap < first + result.taps; ++tap) {
      const int64_t index = static_cast<int64_t>(below) + tap;
      const bool outside = index < 0 || index >= plan.input;
      weights.push_back(outside && how.exclude_outside
                            ? 0 : FilterWeight(how, (static_cast<double>(tap) - (x - below)) * stretch));
      sum += weights.back();
      result.indices.push_back(std::clamp<int64_t>(index, 0, plan.input - 1));
    }
    const double divisor = (how.antialias || how.exclude_outside) && sum != 0 ? sum : 1;
    for (const double weight : weights) result.weights.push_back(static_cast<float>(weight / divisor));
  }
  return result;
}

at::Tensor ResizeAxis(const at::Tensor& x, const AxisPlan& plan, const Interpolation& how) {
  const Taps taps = MakeTaps(plan, how);
  const at::Tensor indices = at::tensor(taps.indices, at::kLong).to(x.device()).reshape({plan.output, taps.taps});
  at::Tensor result;
  if (how.mode == "nearest") {
    result = at::index_select(x, plan.axis, indices.flatten());
  } else {
    std::vector<int64_t> shape(x.dim(), 1);
    shape[plan.axis] = plan.output;
    const at::Tensor weights = at::tensor(taps.weights, at::kFloat).to(x.options()).reshape({plan.output, taps.taps});
    for (int64_t tap = 0; tap < taps.taps; ++tap) {
      const at::Tensor part =
          at::index_select(x, plan.axis, indices.select(1, tap)) * weights.select(1, tap).reshape(shape);
      result = result.defined() ? result + part : part;
    }
  }
  if (how.coordinates != "tf_crop_and_resize") return result;
  std::vector<uint8_t> outside;
  for (int64_t at = 0; at < plan.output; ++at) {
    const double x_at = SourceCoordinate(plan, how.coordinates, at);
    outside.push_back(x_at < 0 || x_at > static_cast<double>(plan.input - 1) ? 1 : 0);
  }
  std::vector<int64_t> shape(x.dim(), 1);
  shape[plan.axis] = plan.output;
  return result.masked_fill(at::tensor(outside, at::kByte).to(at::kBool).reshape(shape).to(x.device()),
                            how.extrapolation);
}

// LibTorch's own kernels for what nets use most; undefined where they don't apply.
at::Tensor ResizeDirectly(const at::Tensor& x, const std::vector<AxisPlan>& plans, const Interpolation& how) {
  if (x.dim() != 4 || plans.size() != 2 || plans[0].axis != 2 || plans[1].axis != 3) return {};
  const std::vector<int64_t> size = {plans[0].output, plans[1].output};
  const bool whole = plans[0].scale == std::floor(plans[0].scale) && plans[1].scale == std::floor(plans[1].scale);
  if (how.mode == "nearest" && how.coordinates == "asymmetric" && (how.nearest == "floor" || how.nearest == kOutwards) && whole) {
    return at::upsample_nearest2d(x, size, plans[0].scale, plans[1].scale);
  }
  const bool half_pixel = how.coordinates == "half_pixel" ||
                          (how.coordinates == "pytorch_half_pixel" && size[0] > 1 && size[1] > 1);
  if (how.mode == "linear" && half_pixel && !how.antialias && !how.exclude_outside) {
    return at::upsample_bilinear2d(x, size, /*align_corners=*/false, plans[0].scale, plans[1].scale);
  }
  return {};
}

// Scales or sizes, for all axes or those of the `axes` attribute, as one plan for each axis that changes.
std::vector<AxisPlan> PlanAxes(const at::Tensor& x, std::vector<int64_t> axes, const std::vector<double>& scales,
                               std::vector<int64_t> sizes, const std::vector<double>& roi, const Interpolation& how) {
  if (axes.empty()) {
    axes.resize(x.dim());
    std::iota(axes.begin(), axes.end(), 0);
  }
  axes = NormalAxes(std::move(axes), x.dim());
  TORCH_CHECK(scales.empty() != sizes.empty(), "Resize must have either scales or sizes");
  TORCH_CHECK(scales.size() + sizes.size() == axes.size(), "Resize must have one scale or size for each axis: given=",
              scales.size() + sizes.size(), " axes=", axes.size());
  const bool crop = how.coordinates == "tf_crop_and_resize";
  TORCH_CHECK(!crop || roi.size() == 2 * axes.size(), "roi must have two values for each axis: values=", roi.size());
  double common = 0;
  if (!sizes.empty() && how.aspect != "stretch") {
    for (size_t index = 0; index < axes.size(); ++index) {
      const double scale = static_cast<double>(sizes[index]) / static_cast<double>(x.size(axes[index]));
      const bool take = how.aspect == "not_larger" ? scale < common : scale > common;
      if (index == 0 || take) common = scale;
    }
  }
  std::vector<AxisPlan> plans;
  for (size_t index = 0; index < axes.size(); ++index) {
    AxisPlan plan{
        .axis = axes[index], .input = x.size(axes[index]), .output = 0, .scale = 1, .roi_start = 0, .roi_end = 1};
    if (!scales.empty()) {
      plan.scale = scales[index];
      plan.output = static_cast<int64_t>(std::floor(static_cast<double>(plan.input) * plan.scale));
    } else if (common > 0) {
      plan.scale = common;
      plan.output = static_cast<int64_t>(std::floor(static_cast<double>(plan.input) * common + 0.5));
    } else {
      plan.output = sizes[index];
      plan.scale = static_cast<double>(plan.output) / static_cast<double>(plan.input);
    }
    TORCH_CHECK(plan.input > 0 && plan.output > 0 && plan.output < int64_t{1} << 31 && std::isfinite(plan.scale),
                "Resize must give a size of at least 1: axis=", plan.axis, " input=", plan.input,
                " scale=", plan.scale);
    if (crop) {
      plan.roi_start = roi[index];
      plan.roi_end = roi[index + axes.size()];
    }
    if (plan.output != plan.input || plan.scale != 1 || crop) plans.push_back(plan);
  }
  return plans;
}

at::Tensor Resize(const at::Tensor& given, const std::vector<AxisPlan>& plans, const Interpolation& how) {
  const bool real = at::isFloatingType(given.scalar_type());
  const at::Tensor x = real || how.mode == "nearest" ? given : given.to(at::kFloat);
  at::Tensor result = real ? ResizeDirectly(x, plans, how) : at::Tensor();
  if (!result.defined()) {
    result = x;
    for (const AxisPlan& plan : plans) result = ResizeAxis(result, plan, how);
  }
  return result.to(given.scalar_type());
}

absl::StatusOr<Interpolation> ReadInterpolation(const Node& node, int64_t opset) {
  Interpolation how;
  how.mode = node.StringOr("mode", "nearest");
  // What Resize was before opset 11.
  how.coordinates = opset < 11 ? "asymmetric" : node.StringOr("coordinate_transformation_mode", "half_pixel");
  how.nearest = opset < 11 ? kOutwards : node.StringOr("nearest_mode", "round_prefer_floor");
  how.aspect = node.StringOr("keep_aspect_ratio_policy", "stretch");
  how.cubic_a = node.FloatOr("cubic_coeff_a", -0.75f);
  how.extrapolation = node.FloatOr("extrapolation_value", 0);
  how.antialias = node.IntOr("antialias", 0) != 0;
  how.exclude_outside = node.IntOr("exclude_outside", 0) != 0;
  // The name that Upsample uses.
  if (how.mode == "bilinear") how.mode = "linear";
  if (how.mode != "nearest" && how.mode != "linear" && how.mode != "cubic") {
    return absl::InvalidArgumentError("mode must be nearest, linear or cubic: mode=" + how.mode);
  }
  static constexpr const char* kCoordinates[] = {"half_pixel", "half_pixel_symmetric", "pytorch_half_pixel",
                                                 "align_corners", "asymmetric", "tf_crop_and_resize"};
  if (std::find(std::begin(kCoordinates), std::end(kCoordinates), how.coordinates) == std::end(kCoordinates)) {
    return absl::UnimplementedError("coordinate_transformation_mode is not supported: " + how.coordinates);
  }
  return how;
}

absl::StatusOr<Kernel> BindResize(const Node& node, int64_t opset) {
  absl::StatusOr<Interpolation> how = ReadInterpolation(node, opset);
  if (!how.ok()) return how.status();
  const std::vector<int64_t> axes = node.IntsOr("axes", {});
  const size_t scales_input = opset < 11 ? 1 : 2;
  return Kernel([=, how = *std::move(how)](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor& x = RequiredInput(arguments, 0);
    const at::Tensor roi = opset < 11 ? at::Tensor() : OptionalInput(arguments, 1);
    const at::Tensor scales = OptionalInput(arguments, scales_input);
    const at::Tensor sizes = OptionalInput(arguments, 3);
    const std::vector<AxisPlan> plans =
        PlanAxes(x, axes, scales.defined() ? Numbers(scales) : std::vector<double>(),
                 sizes.defined() && sizes.numel() > 0 ? Integers(sizes) : std::vector<int64_t>(),
                 roi.defined() ? Numbers(roi) : std::vector<double>(), how);
    return {Resize(x, plans, how)};
  });
}

// Scales are an attribute at opset 7, an input at 9.
absl::StatusOr<Kernel> BindUpsample(const Node& node, int64_t opset) {
  absl::StatusOr<Interpolation> how = ReadInterpolation(node, /*opset=*/10);
  if (!how.ok()) return how.status();
  std::vector<double> given;
  if (const auto found = node.attributes.find("scales"); found != node.attributes.end()) {
    if (const auto* values = std::get_if<std::vector<float>>(&found->second))
      given.assign(values->begin(), values->end());
  }
  return Kernel([=, how = *std::move(how)](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor& x = RequiredInput(arguments, 0);
    const std::vector<double> scales = opset < 9 ? given : Numbers(RequiredInput(arguments, 1));
    return {Resize(x, PlanAxes(x, {}, scales, {}, {}, how), how)};
  });
}

const OpRegistration kResize(
    {.name = "Resize", .first_opset = 10, .role = QuantizationRole::kActivation, .bind = BindResize});
const OpRegistration kUpsample({.name = "Upsample",
                                .first_opset = 7,
                                .last_opset = 9,
                                .role = QuantizationRole::kActivation,
                                .bind = BindUpsample});

}  // namespace
}  // namespace pactory::quant
