// Conv and ConvTranspose.
#include <ATen/ATen.h>

#include <algorithm>

#include "base/status_macros.h"
#include "quant/ops/arguments.h"
#include "quant/ops/registry.h"
#include "quant/ops/window.h"

namespace pactory::quant {
namespace {

absl::StatusOr<int64_t> ReadGroup(const Node& node) {
  const int64_t group = node.IntOr("group", 1);
  if (group < 1) return absl::InvalidArgumentError("group must be at least 1");
  return group;
}

absl::StatusOr<Kernel> BindConv(const Node& node, int64_t) {
  PACTORY_ASSIGN_OR_RETURN(const WindowAttributes attributes, WindowAttributes::Read(node));
  PACTORY_ASSIGN_OR_RETURN(const int64_t group, ReadGroup(node));
  return Kernel([attributes, group](Arguments arguments) -> std::vector<at::Tensor> {
    at::Tensor input = RequiredInput(arguments, 0);
    const at::Tensor& weight = RequiredInput(arguments, 1);
    TORCH_CHECK(weight.dim() == input.dim(), "weight and input must have one rank: weight=", weight.dim(),
                " input=", input.dim());
    Window window = attributes.For(input, weight.sizes().slice(2));
    if (!window.IsSymmetric()) {
      input = PadSpatial(input, window.pads_begin, window.pads_end, 0);
      std::fill(window.pads_begin.begin(), window.pads_begin.end(), 0);
    }
    const std::vector<int64_t> output_padding(window.kernel.size(), 0);
    return {at::convolution(input, weight, OptionalInput(arguments, 2), window.strides, window.pads_begin,
                            window.dilations, /*transposed=*/false, output_padding, group)};
  });
}

// Works pads out from the output_shape attribute: total = stride * (in - 1) + output_padding + reach - out.
void PadsFromOutputShape(const at::Tensor& input, const std::vector<int64_t>& output_shape,
                         const std::vector<int64_t>& output_padding, bool upper, Window& window) {
  const size_t spatial = window.kernel.size();
  TORCH_CHECK(output_shape.size() == spatial || output_shape.size() == spatial + 2,
              "output_shape must have one value for each spatial dimension: values=", output_shape.size());
  for (size_t axis = 0; axis < spatial; ++axis) {
    const int64_t wanted = output_shape[output_shape.size() - spatial + axis];
    const int64_t reach = (window.kernel[axis] - 1) * window.dilations[axis] + 1;
    const int64_t total = window.strides[axis] * (input.size(axis + 2) - 1) + output_padding[axis] + reach - wanted;
    const int64_t smaller = total / 2;
    window.pads_begin[axis] = upper ? smaller : total - smaller;
    window.pads_end[axis] = total - window.pads_begin[axis];
  }
}

absl::StatusOr<Kernel> BindConvTranspose(const Node& node, int64_t) {
  PACTORY_ASSIGN_OR_RETURN(const WindowAttributes attributes, WindowAttributes::Read(node));
  PACTORY_ASSIGN_OR_RETURN(const int64_t group, ReadGroup(node));
  const std::vector<int64_t> given_output_padding = node.IntsOr("output_padding", {});
  const std::vector<int64_t> given_output_shape = node.IntsOr("output_shape", {});
  return Kernel([=](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor& input = RequiredInput(arguments, 0);
    const at::Tensor& weight = RequiredInput(arguments, 1);
    const at::Tensor bias = OptionalInput(arguments, 2);
    Window window = attributes.For(input, weight.sizes().slice(2));
    const size_t spatial = window.kernel.size();
    std::vector<int64_t> output_padding = given_output_padding;
    output_padding.resize(spatial, 0);
    std::vector<int64_t> output_shape = given_output_shape;
    const bool same = attributes.auto_pad() == "SAME_UPPER" || attributes.auto_pad() == "SAME_LOWER";
    if (same && output_shape.empty()) {
      for (size_t axis = 0; axis < spatial; ++axis) {
        output_shape.push_back(input.size(axis + 2) * window.strides[axis]);
      }
    }
    if (!output_shape.empty()) {
      // The spec gives the larger half to the end for SAME_UPPER only, and runtimes do so for output_shape's NOTSET
      // too.
      PadsFromOutputShape(input, output_shape, output_padding, attributes.auto_pad() != "SAME_LOWER", window);
    }
    bool direct = window.IsSymmetric();
    for (size_t axis = 0; axis < spatial; ++axis) {
      direct = direct && window.pads_begin[axis] >= 0 &&
               output_padding[axis] < std::max(window.strides[axis], window.dilations[axis]);
    }
    if (direct) {
      return {at::convolution(input, weight, bias, window.strides, window.pads_begin, window.dilations,
                              /*transposed=*/true, output_padding, group)};
    }
    const std::vector<int64_t> zeros(spatial, 0);
    at::Tensor output = at::convolution(input, weight, {}, window.strides, zeros, window.dilations,
                                        /*transposed=*/true, zeros, group);
    std::vector<int64_t> begin;
    std::vector<int64_t> end;
    for (size_t axis = 0; axis < spatial; ++axis) {
      begin.push_back(-window.pads_begin[axis]);
      end.push_back(output_padding[axis] - window.pads_end[axis]);
    }
    output = PadSpatial(output, begin, end, 0);
    if (bias.defined()) {
      std::vector<int64_t> shape(output.dim(), 1);
      shape[1] = -1;
      output = output + bias.reshape(shape);
    }
    return {output};
  });
}

const OpRegistration kConv({.name = "Conv",
                            .role = QuantizationRole::kWeighted,
                            .weight_input = 1,
                            .channel_axis = [](const Node&, const at::Tensor&) -> int64_t { return 0; },
                            .bind = BindConv});
const OpRegistration kConvTranspose({.name = "ConvTranspose",
                                     .role = QuantizationRole::kWeighted,
                                     .weight_input = 1,
                                     .channel_axis = [](const Node&, const at::Tensor&) -> int64_t { return 1; },
                                     .bind = BindConvTranspose});

}  // namespace
}  // namespace pactory::quant
