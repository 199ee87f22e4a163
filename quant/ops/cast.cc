// Cast, CastLike and the ops that make tensors: ConstantOfShape, Range, EyeLike.
#include <ATen/ATen.h>

#include <cmath>

#include "base/status_macros.h"
#include "quant/onnx/tensor.h"
#include "quant/ops/arguments.h"
#include "quant/ops/registry.h"

namespace pactory::quant {
namespace {

absl::StatusOr<Kernel> BindCast(const Node& node, int64_t) {
  PACTORY_ASSIGN_OR_RETURN(const at::ScalarType type, ScalarTypeOf(static_cast<int>(node.IntOr("to", 0))));
  return Kernel([type](Arguments arguments) -> std::vector<at::Tensor> {
    return {RequiredInput(arguments, 0).to(type)};
  });
}

at::Tensor CastLike(const at::Tensor& x, const at::Tensor& like) { return x.to(like.scalar_type()); }

absl::StatusOr<Kernel> BindConstantOfShape(const Node& node, int64_t) {
  at::Tensor value = at::zeros({1}, at::kFloat);
  if (const auto found = node.attributes.find("value"); found != node.attributes.end()) {
    const auto* tensor = std::get_if<at::Tensor>(&found->second);
    if (tensor == nullptr || tensor->numel() != 1)
      return absl::InvalidArgumentError("value must be a tensor of one element");
    value = tensor->reshape({1});
  }
  return Kernel([value](Arguments arguments) -> std::vector<at::Tensor> {
    return {at::expand_copy(value, Integers(RequiredInput(arguments, 0)))};
  });
}

// start, start + delta, ... below limit
absl::StatusOr<Kernel> BindRange(const Node&, int64_t) {
  return Kernel([](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor& start = RequiredInput(arguments, 0);
    const at::Scalar delta = RequiredInput(arguments, 2).item();
    const at::Scalar limit = RequiredInput(arguments, 1).item();
    TORCH_CHECK(delta.toDouble() != 0, "delta of Range must not be 0");
    // An empty range is an error to LibTorch.
    const double count = std::ceil((limit.toDouble() - start.item().toDouble()) / delta.toDouble());
    if (!(count > 0)) return {at::empty({0}, start.options())};
    return {at::arange(start.item(), limit, delta, start.options())};
  });
}

absl::StatusOr<Kernel> BindEyeLike(const Node& node, int64_t) {
  std::optional<at::ScalarType> type;
  if (node.Has("dtype")) {
    PACTORY_ASSIGN_OR_RETURN(type, ScalarTypeOf(static_cast<int>(node.IntOr("dtype", 0))));
  }
  const int64_t diagonal = node.IntOr("k", 0);
  return Kernel([=](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor& like = RequiredInput(arguments, 0);
    TORCH_CHECK(like.dim() == 2, "EyeLike's input must be a matrix: rank=", like.dim());
    const auto options = like.options().dtype(type.value_or(like.scalar_type()));
    const at::Tensor rows = at::arange(like.size(0), like.options().dtype(at::kLong)).unsqueeze(1);
    const at::Tensor columns = at::arange(like.size(1), like.options().dtype(at::kLong));
    return {(columns - rows == diagonal).to(options)};
  });
}

const OpRegistration kCast({.name = "Cast", .keeps_non_negative = true, .bind = BindCast});
const OpRegistration kCastLike({.name = "CastLike", .first_opset = 15, .bind = Binary(CastLike)});
const OpRegistration kConstantOfShape({.name = "ConstantOfShape", .bind = BindConstantOfShape});
const OpRegistration kRange({.name = "Range", .bind = BindRange});
const OpRegistration kEyeLike({.name = "EyeLike", .bind = BindEyeLike});

}  // namespace
}  // namespace pactory::quant
