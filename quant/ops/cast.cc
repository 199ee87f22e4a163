// Cast, CastLike and the ops that make tensors: ConstantOfShape, Range, EyeLike.
#include "quant/ops/cast.h"

#include <ATen/ATen.h>

#include <cmath>

#include "base/status_macros.h"
#include "quant/onnx/tensor.h"
#include "quant/ops/arguments.h"
#include "quant/ops/registry.h"

namespace pactory::quant {
namespace {

Overflow ReadOverflow(const Node& node) {
  return node.IntOr("saturate", 1) != 0 ? Overflow::kSaturate : Overflow::kSpecial;
}

absl::Status CheckRoundMode(const Node& node) {
  if (node.StringOr("round_mode", "up") == "up") return absl::OkStatus();
  return absl::UnimplementedError("round_mode must be up");
}

absl::StatusOr<Kernel> BindCast(const Node& node, int64_t) {
  PACTORY_RETURN_IF_ERROR(CheckRoundMode(node));
  PACTORY_ASSIGN_OR_RETURN(const at::ScalarType type, ScalarTypeOf(static_cast<int>(node.IntOr("to", 0))));
  return Kernel([type, overflow = ReadOverflow(node)](Arguments arguments) -> std::vector<at::Tensor> {
    return {CastTo(RequiredInput(arguments, 0), type, overflow)};
  });
}

absl::StatusOr<Kernel> BindCastLike(const Node& node, int64_t) {
  PACTORY_RETURN_IF_ERROR(CheckRoundMode(node));
  return Kernel([overflow = ReadOverflow(node)](Arguments arguments) -> std::vector<at::Tensor> {
    return {CastTo(RequiredInput(arguments, 0), RequiredInput(arguments, 1).scalar_type(), overflow)};
  });
}

at::Tensor ToSubByte(const at::Tensor& x, at::ScalarType type) {
  const int64_t values = int64_t{1} << BitsOf(type);
  const at::Tensor low = at::bitwise_and(x.to(at::kLong), values - 1);
  if (type == at::kUInt4 || type == at::kUInt2) return low.to(at::kByte).contiguous().view(type);
  return at::where(low >= values / 2, low - values, low).to(at::kChar).contiguous().view(type);
}

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
const OpRegistration kCastLike({.name = "CastLike", .first_opset = 15, .bind = BindCastLike});
const OpRegistration kConstantOfShape({.name = "ConstantOfShape", .bind = BindConstantOfShape});
const OpRegistration kRange({.name = "Range", .bind = BindRange});
const OpRegistration kEyeLike({.name = "EyeLike", .bind = BindEyeLike});

// The power of two at or above |x|, which is all that float8e8m0 holds: a float's exponent, one more where it has a fraction.
at::Tensor ToPowerOfTwo(const at::Tensor& x, Overflow overflow) {
  const at::Tensor bits = x.contiguous().view(at::kInt);
  const at::Tensor exponent = at::bitwise_and(at::bitwise_right_shift(bits, 23), 0xff);
  const at::Tensor above = exponent + at::bitwise_and(bits, 0x7fffff).ne(0).to(at::kInt);
  const at::Tensor finite = at::clamp_max(above, overflow == Overflow::kSaturate ? 0xfe : 0xff);
  return at::where(exponent == 0xff, exponent, finite).to(at::kByte).view(at::kFloat8_e8m0fnu);
}

}  // namespace

at::Tensor CastTo(const at::Tensor& x, at::ScalarType type, Overflow overflow) {
  if (x.scalar_type() == type) return x;
  const at::Tensor from = BytesOf(x);
  if (IsSubByte(type)) return ToSubByte(from, type);
  if (!at::isFloat8Type(type)) return from.to(type);
  const at::Tensor wide = from.to(at::kFloat);
  if (type == at::kFloat8_e8m0fnu) return ToPowerOfTwo(wide, overflow);
  if (overflow == Overflow::kSpecial) return wide.to(type);
  const double largest = LargestFloat8(type);
  return at::clamp(wide, -largest, largest).to(type);
}

double LargestFloat8(at::ScalarType type) {
  if (type == at::kFloat8_e4m3fn) return 448;
  return type == at::kFloat8_e4m3fnuz ? 240 : 57344;
}

}  // namespace pactory::quant
