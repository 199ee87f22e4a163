// Pad.
#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>

#include "quant/ops/arguments.h"
#include "quant/ops/registry.h"

namespace pactory::quant {
namespace {

// Index of the element that position `at` of one padded dimension shows. `reflect` mirrors without repeating the edge.
int64_t SourceIndex(int64_t at, int64_t size, const std::string& mode) {
  if (mode == "edge") return std::clamp<int64_t>(at, 0, size - 1);
  if (mode == "wrap") return ((at % size) + size) % size;
  if (size == 1) return 0;
  const int64_t period = 2 * (size - 1);
  const int64_t folded = ((at % period) + period) % period;
  return folded < size ? folded : period - folded;
}

at::Tensor PadAxis(const at::Tensor& x, int64_t axis, int64_t begin, int64_t end, const std::string& mode) {
  if (begin == 0 && end == 0) return x;
  const int64_t size = x.size(axis);
  TORCH_CHECK(size > 0, "a dimension of size 0 can only be padded with a constant: axis=", axis);
  const int64_t length = std::max<int64_t>(0, size + begin + end);
  std::vector<int64_t> indices(length);
  for (int64_t index = 0; index < length; ++index) indices[index] = SourceIndex(index - begin, size, mode);
  return at::index_select(x, axis, at::tensor(indices, at::kLong).to(x.device()));
}

at::Tensor PadAll(const at::Tensor& x, const std::vector<int64_t>& begin, const std::vector<int64_t>& end,
                  const std::string& mode, const at::Scalar& value) {
  if (mode != "constant") {
    at::Tensor result = x;
    for (int64_t axis = 0; axis < x.dim(); ++axis) result = PadAxis(result, axis, begin[axis], end[axis], mode);
    return result;
  }
  std::vector<int64_t> pads;
  // LibTorch counts from the last dimension.
  for (int64_t axis = x.dim() - 1; axis >= 0; --axis) {
    pads.push_back(begin[axis]);
    pads.push_back(end[axis]);
  }
  return at::constant_pad_nd(x, pads, value);
}

// Pads and value are attributes before opset 11, inputs from then on; axes an input since 18.
absl::StatusOr<Kernel> BindPad(const Node& node, int64_t opset) {
  const std::string mode = node.StringOr("mode", "constant");
  if (mode != "constant" && mode != "edge" && mode != "reflect" && mode != "wrap") {
    return absl::InvalidArgumentError("mode must be constant, edge, reflect or wrap: mode=" + mode);
  }
  const std::vector<int64_t> given = node.IntsOr("pads", {});
  const double given_value = node.FloatOr("value", 0);
  return Kernel([=](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor& x = RequiredInput(arguments, 0);
    const std::vector<int64_t> pads = opset < 11 ? given : Integers(RequiredInput(arguments, 1));
    const at::Tensor value = opset < 11 ? at::Tensor() : OptionalInput(arguments, 2);
    std::vector<int64_t> axes(x.dim());
    std::iota(axes.begin(), axes.end(), 0);
    if (const at::Tensor some = OptionalInput(arguments, 3); some.defined()) {
      axes = NormalAxes(Integers(some), x.dim());
    }
    TORCH_CHECK(pads.size() == 2 * axes.size(), "pads must have two values for each axis: values=", pads.size(),
                " axes=", axes.size());
    std::vector<int64_t> begin(x.dim(), 0);
    std::vector<int64_t> end(x.dim(), 0);
    for (size_t index = 0; index < axes.size(); ++index) {
      begin[axes[index]] = pads[index];
      end[axes[index]] = pads[index + axes.size()];
    }
    const at::Scalar constant =
        value.defined() && value.numel() > 0 ? value.reshape({-1})[0].item() : at::Scalar(given_value);
    return {PadAll(x, begin, end, mode, constant)};
  });
}

const OpRegistration kPad({.name = "Pad", .bind = BindPad});

}  // namespace
}  // namespace pactory::quant
