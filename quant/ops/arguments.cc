#include "quant/ops/arguments.h"

#include <ATen/ATen.h>

#include <utility>

#include "quant/onnx/tensor.h"

namespace pactory::quant {

at::Tensor OptionalInput(Arguments arguments, size_t index) {
  return index < arguments.size() ? arguments[index] : at::Tensor();
}

const at::Tensor& RequiredInput(Arguments arguments, size_t index) {
  TORCH_CHECK(index < arguments.size() && arguments[index].defined(), "input ", index, " must be given");
  return arguments[index];
}

std::vector<int64_t> Integers(const at::Tensor& tensor) {
  TORCH_CHECK(at::isIntegralType(tensor.scalar_type(), /*includeBool=*/false),
              "sizes, axes and indices must be integers: type=", tensor.scalar_type());
  const at::Tensor dense = tensor.to(at::kCPU, at::kLong).contiguous();
  const int64_t* data = dense.const_data_ptr<int64_t>();
  return std::vector<int64_t>(data, data + dense.numel());
}

std::vector<double> Numbers(const at::Tensor& tensor) {
  const at::Tensor dense = BytesOf(tensor.detach()).to(at::kCPU, at::kDouble).contiguous();
  const double* data = dense.const_data_ptr<double>();
  return std::vector<double>(data, data + dense.numel());
}

int64_t NormalAxis(int64_t axis, int64_t rank) {
  TORCH_CHECK(axis >= -rank && axis < rank, "axis must be in the tensor's rank: axis=", axis, " rank=", rank);
  return axis < 0 ? axis + rank : axis;
}

std::vector<int64_t> NormalAxes(std::vector<int64_t> axes, int64_t rank) {
  for (int64_t& axis : axes) axis = NormalAxis(axis, rank);
  return axes;
}

std::function<std::vector<int64_t>(Arguments)> AxesReader(const Node& node, int64_t opset, int64_t input_opset,
                                                          size_t input_index) {
  if (opset < input_opset) return [axes = node.IntsOr("axes", {})](Arguments) { return axes; };
  return [input_index](Arguments arguments) {
    const at::Tensor axes = OptionalInput(arguments, input_index);
    return axes.defined() ? Integers(axes) : std::vector<int64_t>();
  };
}

at::Tensor Widened(const at::Tensor& x) {
  if (!at::isBarebonesUnsignedType(x.scalar_type())) return x;
  const at::Tensor wide = x.to(at::kLong);
  TORCH_CHECK(x.scalar_type() != at::kUInt64 || wide.numel() == 0 || wide.min().item<int64_t>() >= 0,
              "uint64 values must be below 2^63");
  return wide;
}

at::Tensor Narrowed(const at::Tensor& result, const at::Tensor& like) {
  const bool narrows = at::isBarebonesUnsignedType(like.scalar_type()) && result.scalar_type() == at::kLong;
  return narrows ? result.to(like.scalar_type()) : result;
}

Bind Unary(std::function<at::Tensor(const at::Tensor&)> function) {
  return [function = std::move(function)](const Node&, int64_t) -> absl::StatusOr<Kernel> {
    return Kernel([function](Arguments arguments) -> std::vector<at::Tensor> {
      return {function(RequiredInput(arguments, 0))};
    });
  };
}

Bind Binary(std::function<at::Tensor(const at::Tensor&, const at::Tensor&)> function) {
  return [function = std::move(function)](const Node&, int64_t) -> absl::StatusOr<Kernel> {
    return Kernel([function](Arguments arguments) -> std::vector<at::Tensor> {
      const at::Tensor& a = RequiredInput(arguments, 0);
      return {Narrowed(function(Widened(a), Widened(RequiredInput(arguments, 1))), a)};
    });
  };
}

std::function<StageMaker(const Graph&, const Node&)> Stage(std::function<PointwiseStage(const at::Tensor& other)> make) {
  return [make](const Graph&, const Node&) { return StageMaker(make); };
}

}  // namespace pactory::quant
