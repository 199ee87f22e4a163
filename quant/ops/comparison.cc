// Comparisons, logic, bits, and Where.
#include <ATen/ATen.h>

#include "quant/ops/arguments.h"
#include "quant/ops/registry.h"

namespace pactory::quant {
namespace {

using Tensor = at::Tensor;

// Infinities of one sign, as the attributes ask.
absl::StatusOr<Kernel> BindIsInf(const Node& node, int64_t) {
  const bool negative = node.IntOr("detect_negative", 1) != 0;
  const bool positive = node.IntOr("detect_positive", 1) != 0;
  return Kernel([=](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor& x = RequiredInput(arguments, 0);
    if (negative && positive) return {at::isinf(x)};
    if (negative) return {at::isneginf(x)};
    if (positive) return {at::isposinf(x)};
    return {at::zeros(x.sizes(), x.options().dtype(at::kBool))};
  });
}

absl::StatusOr<Kernel> BindWhere(const Node&, int64_t) {
  return Kernel([](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor& condition = RequiredInput(arguments, 0);
    const at::Tensor& x = RequiredInput(arguments, 1);
    const at::Tensor& y = RequiredInput(arguments, 2);
    // Constants that stayed on the host follow the operand that did not.
    const at::Device device = !x.is_cpu() ? x.device() : !y.is_cpu() ? y.device() : condition.device();
    return {at::where(condition.to(device, at::kBool), x.to(device), y.to(device))};
  });
}

// A shift by the type's width or more gives 0, where the processor would take the amount modulo the width.
absl::StatusOr<Kernel> BindBitShift(const Node& node, int64_t) {
  const std::string direction = node.StringOr("direction", "");
  if (direction != "LEFT" && direction != "RIGHT") {
    return absl::InvalidArgumentError("direction must be LEFT or RIGHT: direction=" + direction);
  }
  return Kernel([left = direction == "LEFT"](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor& x = RequiredInput(arguments, 0);
    const at::ScalarType type = x.scalar_type();
    // Bits that leave a narrower type by the left must not stay.
    const at::ScalarType wide = type == at::kByte ? type : at::kLong;
    const at::Tensor a = Widened(x).to(wide);
    const at::Tensor b = Widened(RequiredInput(arguments, 1)).to(wide);
    return {(left ? at::bitwise_left_shift(a, b) : at::bitwise_right_shift(a, b)).to(type)};
  });
}

// Bits are the same whatever the sign; the wide unsigned types lack kernels.
Tensor AsSigned(const Tensor& x) {
  switch (x.scalar_type()) {
    case at::kUInt16: return x.view(at::kShort);
    case at::kUInt32: return x.view(at::kInt);
    case at::kUInt64: return x.view(at::kLong);
    default: return x;
  }
}

Bind Bitwise(Tensor (*function)(const Tensor&, const Tensor&)) {
  return [function](const Node&, int64_t) -> absl::StatusOr<Kernel> {
    return Kernel([function](Arguments arguments) -> std::vector<at::Tensor> {
      const Tensor& a = RequiredInput(arguments, 0);
      return {function(AsSigned(a), AsSigned(RequiredInput(arguments, 1))).view(a.scalar_type())};
    });
  };
}

const OpRegistration kEqual(
    {.name = "Equal", .bind = Binary([](const Tensor& a, const Tensor& b) { return at::eq(a, b); })});
const OpRegistration kGreater(
    {.name = "Greater", .bind = Binary([](const Tensor& a, const Tensor& b) { return at::gt(a, b); })});
const OpRegistration kGreaterOrEqual(
    {.name = "GreaterOrEqual", .bind = Binary([](const Tensor& a, const Tensor& b) { return at::ge(a, b); })});
const OpRegistration kLess(
    {.name = "Less", .bind = Binary([](const Tensor& a, const Tensor& b) { return at::lt(a, b); })});
const OpRegistration kLessOrEqual(
    {.name = "LessOrEqual", .bind = Binary([](const Tensor& a, const Tensor& b) { return at::le(a, b); })});
const OpRegistration kAnd(
    {.name = "And", .bind = Binary([](const Tensor& a, const Tensor& b) { return at::logical_and(a, b); })});
const OpRegistration kOr(
    {.name = "Or", .bind = Binary([](const Tensor& a, const Tensor& b) { return at::logical_or(a, b); })});
const OpRegistration kXor(
    {.name = "Xor", .bind = Binary([](const Tensor& a, const Tensor& b) { return at::logical_xor(a, b); })});
const OpRegistration kNot({.name = "Not", .bind = Unary([](const Tensor& x) { return at::logical_not(x); })});
const OpRegistration kIsNan({.name = "IsNaN", .bind = Unary([](const Tensor& x) { return at::isnan(x); })});
const OpRegistration kIsInf({.name = "IsInf", .bind = BindIsInf});
const OpRegistration kWhere({.name = "Where", .bind = BindWhere});
const OpRegistration kBitShift({.name = "BitShift", .bind = BindBitShift});
const OpRegistration kBitwiseAnd({.name = "BitwiseAnd", .bind = Bitwise(at::bitwise_and)});
const OpRegistration kBitwiseOr({.name = "BitwiseOr", .bind = Bitwise(at::bitwise_or)});
const OpRegistration kBitwiseXor({.name = "BitwiseXor", .bind = Bitwise(at::bitwise_xor)});
const OpRegistration kBitwiseNot({.name = "BitwiseNot", .bind = Unary([](const Tensor& x) {
                                    return at::bitwise_not(AsSigned(x)).view(x.scalar_type());
                                  })});

}  // namespace
}  // namespace pactory::quant
