// MaxPool, AveragePool, LpPool and their global forms.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/status_macros.h"
#include "quant/ops/arguments.h"
#include "quant/ops/registry.h"
#include "quant/ops/window.h"

namespace pactory::quant {
namespace {

// What ceil_mode adds behind the end padding so that the last, partly covered windows fit: out = ceil((in + pads -
// reach) / stride) + 1, less one where that window would start behind the input and its begin padding.
std::vector<int64_t> CeilPadding(const at::Tensor& input, const Window& window) {
  std::vector<int64_t> extra;
  for (size_t axis = 0; axis < window.kernel.size(); ++axis) {
    const int64_t size = input.size(axis + 2);
    const int64_t padded = size + window.pads_begin[axis] + window.pads_end[axis];
    const int64_t reach = (window.kernel[axis] - 1) * window.dilations[axis] + 1;
    const int64_t stride = window.strides[axis];
    if (padded < reach) {
      extra.push_back(0);
      continue;
    }
    int64_t output = (padded - reach + stride - 1) / stride + 1;
    if ((output - 1) * stride >= size + window.pads_begin[axis]) --output;
    extra.push_back(std::max<int64_t>(0, (output - 1) * stride + reach - padded));
  }
  return extra;
}

std::vector<int64_t> Plus(std::vector<int64_t> a, const std::vector<int64_t>& b) {
  for (size_t axis = 0; axis < a.size(); ++axis) a[axis] += b[axis];
  return a;
}

at::Tensor MaxPool(const at::Tensor& input, const Window& window, const std::vector<int64_t>& pads) {
  switch (window.kernel.size()) {
    case 1: return at::max_pool1d(input, window.kernel, window.strides, pads, window.dilations);
    case 2: return at::max_pool2d(input, window.kernel, window.strides, pads, window.dilations);
    case 3: return at::max_pool3d(input, window.kernel, window.strides, pads, window.dilations);
    default: TORCH_CHECK(false, "MaxPool takes one to three spatial dimensions: given=", window.kernel.size());
  }
}

std::tuple<at::Tensor, at::Tensor> MaxPoolWithIndices(const at::Tensor& input, const Window& window) {
  const std::vector<int64_t> pads(window.kernel.size(), 0);
  switch (window.kernel.size()) {
    case 1: return at::max_pool1d_with_indices(input, window.kernel, window.strides, pads, window.dilations);
    case 2: return at::max_pool2d_with_indices(input, window.kernel, window.strides, pads, window.dilations);
    case 3: return at::max_pool3d_with_indices(input, window.kernel, window.strides, pads, window.dilations);
    default: TORCH_CHECK(false, "MaxPool takes one to three spatial dimensions: given=", window.kernel.size());
  }
}

// Turns indices into one padded plane to ONNX's indices into the whole input, which has no padding.
at::Tensor OnnxIndices(const at::Tensor& indices, const at::Tensor& input, const at::Tensor& padded,
                       const std::vector<int64_t>& pads_begin, int64_t column_major) {
  const int64_t spatial = input.dim() - 2;
  at::Tensor rest = indices;
  at::Tensor offset = at::zeros_like(indices);
  std::vector<int64_t> strides(spatial, 1);
  if (column_major != 0) {
    for (int64_t axis = 1; axis < spatial; ++axis) strides[axis] = strides[axis - 1] * input.size(axis + 1);
  } else {
    for (int64_t axis = spatial - 2; axis >= 0; --axis) strides[axis] = strides[axis + 1] * input.size(axis + 3);
  }
  for (int64_t axis = spatial - 1; axis >= 0; --axis) {
    const int64_t size = padded.size(axis + 2);
    offset = offset + (at::remainder(rest, size) - pads_begin[axis]) * strides[axis];
    rest = at::div(rest, size, "floor");
  }
  int64_t plane = 1;
  for (int64_t axis = 0; axis < spatial; ++axis) plane *= input.size(axis + 2);
  std::vector<int64_t> shape(input.dim(), 1);
  shape[0] = input.size(0);
  shape[1] = input.size(1);
  const at::Tensor planes = at::arange(input.size(0) * input.size(1), indices.options()).reshape(shape);
  return offset + planes * plane;
}

absl::StatusOr<Kernel> BindMaxPool(const Node& node, int64_t) {
  PACTORY_ASSIGN_OR_RETURN(const WindowAttributes attributes, WindowAttributes::Read(node));
  const bool ceil_mode = node.IntOr("ceil_mode", 0) != 0;
  const int64_t column_major = node.IntOr("storage_order", 0);
  const bool wants_indices = node.outputs.size() > 1 && !node.outputs[1].empty();
  return Kernel([=](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor& given = RequiredInput(arguments, 0);
    const bool real = at::isFloatingType(given.scalar_type());
    // Integers up to 8 bits are exact in float.
    const at::Tensor input = real ? given : given.to(at::kFloat);
    const Window window = attributes.For(input, {});
    const std::vector<int64_t> ends = ceil_mode ? Plus(window.pads_end, CeilPadding(input, window)) : window.pads_end;
    bool direct = !wants_indices && window.pads_begin == ends;
    for (size_t axis = 0; axis < ends.size(); ++axis) direct = direct && 2 * ends[axis] <= window.kernel[axis];
    if (direct) return {MaxPool(input, window, window.pads_begin).to(given.scalar_type())};
    const at::Tensor padded =
        PadSpatial(input, window.pads_begin, ends, -std::numeric_limits<double>::infinity());
    if (!wants_indices) {
      const std::vector<int64_t> none(ends.size(), 0);
      return {MaxPool(padded, window, none).to(given.scalar_type())};
    }
    const auto [values, indices] = MaxPoolWithIndices(padded, window);
    return {values.to(given.scalar_type()),
            OnnxIndices(indices, input, padded, window.pads_begin, column_major)};
  });
}

// Sums each window by a convolution with ones, which takes any padding, stride and dilation.
at::Tensor WindowSums(const at::Tensor& input, const Window& window, const std::vector<int64_t>& begin,
                      const std::vector<int64_t>& end) {
  std::vector<int64_t> planes = {input.size(0) * input.size(1), 1};
  std::vector<int64_t> ones = {1, 1};
  for (int64_t axis = 2; axis < input.dim(); ++axis) planes.push_back(input.size(axis));
  ones.insert(ones.end(), window.kernel.begin(), window.kernel.end());
  const at::Tensor padded = PadSpatial(input.reshape(planes), begin, end, 0);
  const std::vector<int64_t> none(window.kernel.size(), 0);
  const at::Tensor sums = at::convolution(padded, at::ones(ones, input.options()), {}, window.strides, none,
                                          window.dilations, /*transposed=*/false, none, 1);
  std::vector<int64_t> shape = sums.sizes().vec();
  shape[0] = input.size(0);
  shape[1] = input.size(1);
  return sums.reshape(shape);
}

// y = sum of the window / number of elements; padding counts where count_include_pad says so, what ceil_mode adds
// never.
at::Tensor GeneralAveragePool(const at::Tensor& input, const Window& window, bool ceil_mode, bool count_padding) {
  const std::vector<int64_t> extra =
      ceil_mode ? CeilPadding(input, window) : std::vector<int64_t>(window.kernel.size(), 0);
  const at::Tensor sums = WindowSums(input, window, window.pads_begin, Plus(window.pads_end, extra));
  std::vector<int64_t> mask_shape = {1, 1};
  for (size_t axis = 0; axis < window.kernel.size(); ++axis) {
    const int64_t padding = count_padding ? window.pads_begin[axis] + window.pads_end[axis] : 0;
    mask_shape.push_back(input.size(axis + 2) + padding);
  }
  const at::Tensor mask = at::ones(mask_shape, input.options());
  const std::vector<int64_t> none(window.kernel.size(), 0);
  const at::Tensor counts = count_padding
                                ? WindowSums(mask, window, none, extra)
                                : WindowSums(mask, window, window.pads_begin, Plus(window.pads_end, extra));
  return sums / counts;
}

absl::StatusOr<Kernel> BindAveragePool(const Node& node, int64_t) {
  PACTORY_ASSIGN_OR_RETURN(const WindowAttributes attributes, WindowAttributes::Read(node));
  const bool ceil_mode = node.IntOr("ceil_mode", 0) != 0;
  const bool count_padding = node.IntOr("count_include_pad", 0) != 0;
  return Kernel([=](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor& input = RequiredInput(arguments, 0);
    const Window window = attributes.For(input, {});
    bool direct = !ceil_mode && window.IsSymmetric() && window.kernel.size() == 2;
    for (size_t axis = 0; axis < window.kernel.size(); ++axis) {
      direct = direct && window.dilations[axis] == 1 && 2 * window.pads_begin[axis] <= window.kernel[axis];
    }
    if (direct) {
      return {at::avg_pool2d(input, window.kernel, window.strides, window.pads_begin, /*ceil_mode=*/false,
                             count_padding)};
    }
    return {GeneralAveragePool(input, window, ceil_mode, count_padding)};
  });
}

// y = (sum |x|^p)^(1/p)
absl::StatusOr<Kernel> BindLpPool(const Node& node, int64_t) {
  PACTORY_ASSIGN_OR_RETURN(const WindowAttributes attributes, WindowAttributes::Read(node));
  const bool ceil_mode = node.IntOr("ceil_mode", 0) != 0;
  const int64_t p = node.IntOr("p", 2);
  if (p < 1) return absl::InvalidArgumentError("p must be at least 1");
  return Kernel([=](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor& input = RequiredInput(arguments, 0);
    const Window window = attributes.For(input, {});
    const std::vector<int64_t> ends = ceil_mode ? Plus(window.pads_end, CeilPadding(input, window)) : window.pads_end;
    const at::Tensor sums = WindowSums(at::pow(at::abs(input), p), window, window.pads_begin, ends);
    return {at::pow(sums, 1.0 / static_cast<double>(p))};
  });
}

std::vector<int64_t> SpatialAxes(const at::Tensor& input) {
  TORCH_CHECK(input.dim() >= 2, "input must have batch and channel dimensions: rank=", input.dim());
  std::vector<int64_t> axes(input.dim() - 2);
  std::iota(axes.begin(), axes.end(), 2);
  return axes;
}

at::Tensor GlobalAveragePool(const at::Tensor& input) {
  const std::vector<int64_t> axes = SpatialAxes(input);
  return axes.empty() ? input : at::mean(input, axes, /*keepdim=*/true);
}

at::Tensor GlobalMaxPool(const at::Tensor& input) {
  const std::vector<int64_t> axes = SpatialAxes(input);
  return axes.empty() ? input : at::amax(input, axes, /*keepdim=*/true);
}

absl::StatusOr<Kernel> BindGlobalLpPool(const Node& node, int64_t) {
  const double p = static_cast<double>(node.IntOr("p", 2));
  if (p < 1) return absl::InvalidArgumentError("p must be at least 1");
  return Kernel([p](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor& input = RequiredInput(arguments, 0);
    return {at::pow(at::sum(at::pow(at::abs(input), p), SpatialAxes(input), /*keepdim=*/true), 1.0 / p)};
  });
}

const OpRegistration kMaxPool({.name = "MaxPool",
                               .role = QuantizationRole::kPassThrough,
                               .keeps_non_negative = true,
                               .bind = BindMaxPool});
const OpRegistration kAveragePool({.name = "AveragePool",
                                   .role = QuantizationRole::kActivation,
                                   .keeps_non_negative = true,
                                   .bind = BindAveragePool});
const OpRegistration kLpPool({.name = "LpPool", .non_negative = true, .bind = BindLpPool});
const OpRegistration kGlobalAveragePool({.name = "GlobalAveragePool",
                                         .role = QuantizationRole::kActivation,
                                         .keeps_non_negative = true,
                                         .bind = Unary(GlobalAveragePool)});
const OpRegistration kGlobalMaxPool({.name = "GlobalMaxPool",
                                     .role = QuantizationRole::kPassThrough,
                                     .keeps_non_negative = true,
                                     .bind = Unary(GlobalMaxPool)});
const OpRegistration kGlobalLpPool({.name = "GlobalLpPool", .non_negative = true, .bind = BindGlobalLpPool});

}  // namespace
}  // namespace pactory::quant
