// Arithmetic element by element: Add, Mul, Pow, Sqrt, Exp and the like, with ONNX's broadcasting.
#include <ATen/ATen.h>

#include <cmath>

#include "quant/ops/arguments.h"
#include "quant/ops/registry.h"

namespace pactory::quant {
namespace {

// Puts integer constants, which stay on the host, beside the other operand.
template <typename Function>
Bind OnOneDevice(Function function) {
  return Binary([function](const at::Tensor& a, const at::Tensor& b) {
    if (a.device() == b.device()) return function(a, b);
    const at::Device device = a.is_cpu() ? b.device() : a.device();
    return function(a.to(device), b.to(device));
  });
}

bool IsInteger(const at::Tensor& tensor) { return at::isIntegralType(tensor.scalar_type(), /*includeBool=*/false); }

// Integers divide towards zero. The smallest integer by -1 would trap in the processor, so -1 is done by negation.
at::Tensor Divide(const at::Tensor& a, const at::Tensor& b) {
  if (!IsInteger(a)) return at::div(a, b);
  if (!at::isSignedType(b.scalar_type())) return at::div(a, b, "trunc");
  const at::Tensor minus_one = b == -1;
  return at::where(minus_one, at::neg(a), at::div(a, b.masked_fill(minus_one, 1), "trunc"));
}

// Base and exponent may differ in type; the result has the base's.
at::Tensor Power(const at::Tensor& base, const at::Tensor& exponent) {
  // A whole constant exponent takes the exact and faster path.
  if (exponent.numel() == 1 && exponent.dim() <= base.dim() && !exponent.requires_grad() && base.is_floating_point()) {
    return at::pow(base, exponent.item());
  }
  if (IsInteger(base)) return at::pow(base.to(at::kDouble), exponent.to(at::kDouble)).to(base.scalar_type());
  return at::pow(base, exponent).to(base.scalar_type());
}

// fmod = 1 takes the dividend's sign (C), 0 the divisor's (Python), which is for integers only.
absl::StatusOr<Kernel> BindMod(const Node& node, int64_t) {
  const bool c_style = node.IntOr("fmod", 0) != 0;
  return Kernel([c_style](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor& given = RequiredInput(arguments, 0);
    const at::Tensor a = Widened(given);
    at::Tensor b = Widened(RequiredInput(arguments, 1));
    // The smallest integer modulo -1 traps in the processor; modulo 1 gives the same.
    if (IsInteger(b) && at::isSignedType(b.scalar_type())) b = b.masked_fill(b == -1, 1);
    return {Narrowed(c_style ? at::fmod(a, b) : at::remainder(a, b), given)};
  });
}

// Max, Min, Sum and Mean take one or more inputs.
Bind Variadic(std::function<at::Tensor(const at::Tensor&, const at::Tensor&)> function) {
  return [function](const Node&, int64_t) -> absl::StatusOr<Kernel> {
    return Kernel([function](Arguments arguments) -> std::vector<at::Tensor> {
      at::Tensor result = Widened(RequiredInput(arguments, 0));
      for (size_t index = 1; index < arguments.size(); ++index)
        result = function(result, Widened(RequiredInput(arguments, index)));
      return {Narrowed(result, arguments[0])};
    });
  };
}

absl::StatusOr<Kernel> BindMean(const Node&, int64_t) {
  return Kernel([](Arguments arguments) -> std::vector<at::Tensor> {
    at::Tensor result = RequiredInput(arguments, 0);
    for (size_t index = 1; index < arguments.size(); ++index) result = result + RequiredInput(arguments, index);
    return {result / static_cast<double>(arguments.size())};
  });
}

constexpr QuantizationRole kElementwiseRole = QuantizationRole::kActivation;

const OpRegistration kAdd({.name = "Add",
                           .role = kElementwiseRole,
                           .keeps_non_negative = true,
                           .stage = Stage(AddStage),
                           .stage_has_operand = true,
                           .bind = OnOneDevice([](const at::Tensor& a, const at::Tensor& b) {
                             return at::add(a, b);
                           })});
const OpRegistration kSub({.name = "Sub",
                           .role = kElementwiseRole,
                           .bind = OnOneDevice([](const at::Tensor& a, const at::Tensor& b) {
                             return at::sub(a, b);
                           })});
const OpRegistration kMul({.name = "Mul",
                           .role = kElementwiseRole,
                           .keeps_non_negative = true,
                           .stage = Stage(MultiplyStage),
                           .stage_has_operand = true,
                           .bind = OnOneDevice([](const at::Tensor& a, const at::Tensor& b) {
                             return at::mul(a, b);
                           })});
const OpRegistration kDiv(
    {.name = "Div", .role = kElementwiseRole, .keeps_non_negative = true, .bind = OnOneDevice(Divide)});
const OpRegistration kPow({.name = "Pow", .keeps_non_negative = true, .bind = OnOneDevice(Power)});
const OpRegistration kMod({.name = "Mod", .bind = BindMod});
const OpRegistration kMax({.name = "Max",
                           .keeps_non_negative = true,
                           .bind = Variadic([](const auto& a, const auto& b) { return at::maximum(a, b); })});
const OpRegistration kMin({.name = "Min",
                           .keeps_non_negative = true,
                           .bind = Variadic([](const auto& a, const auto& b) { return at::minimum(a, b); })});
const OpRegistration kSum({.name = "Sum",
                           .role = kElementwiseRole,
                           .keeps_non_negative = true,
                           .bind = Variadic([](const auto& a, const auto& b) { return at::add(a, b); })});
const OpRegistration kMean({.name = "Mean", .keeps_non_negative = true, .bind = BindMean});

using Tensor = at::Tensor;
const OpRegistration kAbs(
    {.name = "Abs", .non_negative = true, .bind = Unary([](const Tensor& x) { return at::abs(x); })});
const OpRegistration kNeg({.name = "Neg", .bind = Unary([](const Tensor& x) { return at::neg(x); })});
const OpRegistration kSqrt(
    {.name = "Sqrt", .non_negative = true, .bind = Unary([](const Tensor& x) { return at::sqrt(x); })});
const OpRegistration kExp(
    {.name = "Exp", .non_negative = true, .bind = Unary([](const Tensor& x) { return at::exp(x); })});
const OpRegistration kLog({.name = "Log", .bind = Unary([](const Tensor& x) { return at::log(x); })});
const OpRegistration kReciprocal({.name = "Reciprocal", .keeps_non_negative = true, .bind = Unary([](const Tensor& x) {
                                                                                      return at::reciprocal(x);
                                                                                    })});
const OpRegistration kErf(
    {.name = "Erf", .keeps_non_negative = true, .bind = Unary([](const Tensor& x) { return at::erf(x); })});
const OpRegistration kSign({.name = "Sign", .bind = Unary([](const Tensor& x) { return at::sign(x); })});
const OpRegistration kFloor({.name = "Floor", .bind = Unary([](const Tensor& x) { return at::floor(x); })});
const OpRegistration kCeil({.name = "Ceil", .bind = Unary([](const Tensor& x) { return at::ceil(x); })});
// Half to even, as ONNX says.
const OpRegistration kRound({.name = "Round", .bind = Unary([](const Tensor& x) { return at::round(x); })});
const OpRegistration kSin({.name = "Sin", .bind = Unary([](const Tensor& x) { return at::sin(x); })});
const OpRegistration kCos({.name = "Cos", .bind = Unary([](const Tensor& x) { return at::cos(x); })});
const OpRegistration kTan({.name = "Tan", .bind = Unary([](const Tensor& x) { return at::tan(x); })});
const OpRegistration kAsin({.name = "Asin", .bind = Unary([](const Tensor& x) { return at::asin(x); })});
const OpRegistration kAcos({.name = "Acos", .bind = Unary([](const Tensor& x) { return at::acos(x); })});
const OpRegistration kAtan({.name = "Atan", .bind = Unary([](const Tensor& x) { return at::atan(x); })});
const OpRegistration kSinh({.name = "Sinh", .bind = Unary([](const Tensor& x) { return at::sinh(x); })});
const OpRegistration kCosh({.name = "Cosh", .bind = Unary([](const Tensor& x) { return at::cosh(x); })});
const OpRegistration kAsinh({.name = "Asinh", .bind = Unary([](const Tensor& x) { return at::asinh(x); })});
const OpRegistration kAcosh({.name = "Acosh", .bind = Unary([](const Tensor& x) { return at::acosh(x); })});
const OpRegistration kAtanh({.name = "Atanh", .bind = Unary([](const Tensor& x) { return at::atanh(x); })});

}  // namespace
}  // namespace pactory::quant
