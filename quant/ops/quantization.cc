// QuantizeLinear and DequantizeLinear, so that models that are quantized already can be read and compared.
#include <ATen/ATen.h>

#include "base/status_macros.h"
#include "quant/onnx/tensor.h"
#include "quant/ops/arguments.h"
#include "quant/ops/cast.h"
#include "quant/ops/registry.h"

namespace pactory::quant {
namespace {

// Scale or zero point in the shape that broadcasts along `axis`; from opset 21 on also in blocks along it.
at::Tensor Aligned(const at::Tensor& parameter, const at::Tensor& x, int64_t axis, int64_t block) {
  if (parameter.numel() == 1 && block == 0) return parameter.reshape({});
  const int64_t normal = NormalAxis(axis, x.dim());
  if (block > 0) {
    TORCH_CHECK(parameter.dim() == x.dim(), "blocked scales must have the data's rank: rank=", parameter.dim());
    return at::narrow(at::repeat_interleave(parameter, block, normal), normal, 0, x.size(normal));
  }
  std::vector<int64_t> shape(x.dim(), 1);
  shape[normal] = -1;
  return parameter.reshape(shape);
}

struct Range {
  double low;
  double high;
};

absl::StatusOr<Range> RangeOf(at::ScalarType type) {
  switch (type) {
    case at::kByte: return Range{0, 255};
    case at::kChar: return Range{-128, 127};
    case at::kUInt16: return Range{0, 65535};
    case at::kShort: return Range{-32768, 32767};
    case at::kUInt4: return Range{0, 15};
    case at::kInt4: return Range{-8, 7};
    case at::kUInt2: return Range{0, 3};
    case at::kInt2: return Range{-2, 1};
    default:
      if (at::isFloat8Type(type) && type != at::kFloat8_e8m0fnu) return Range{-LargestFloat8(type), LargestFloat8(type)};
      return absl::UnimplementedError(
          std::string("quantized type must be an integer of 2 to 16 bits or a float of 8: type=") + c10::toString(type));
  }
}

// q = saturate(round_half_even(x / scale) + zero_point)   ONNX QuantizeLinear; 8-bit floats round by themselves
absl::StatusOr<Kernel> BindQuantizeLinear(const Node& node, int64_t) {
  const int64_t axis = node.IntOr("axis", 1);
  const int64_t block = node.IntOr("block_size", 0);
  at::ScalarType default_type = at::kByte;
  if (node.IntOr("output_dtype", 0) != 0) {
    PACTORY_ASSIGN_OR_RETURN(default_type, ScalarTypeOf(static_cast<int>(node.IntOr("output_dtype", 0))));
  }
  const Overflow overflow = node.IntOr("saturate", 1) != 0 ? Overflow::kSaturate : Overflow::kSpecial;
  return Kernel([=](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor& x = RequiredInput(arguments, 0);
    const at::Tensor zero_point = OptionalInput(arguments, 2);
    const at::ScalarType type = zero_point.defined() ? zero_point.scalar_type() : default_type;
    const absl::StatusOr<Range> range = RangeOf(type);
    TORCH_CHECK(range.ok(), range.status().ToString());
    const at::Tensor scale = Aligned(RequiredInput(arguments, 1), x, axis, block);
    at::Tensor q = x.to(at::kFloat) / scale.to(at::kFloat);
    if (at::isFloat8Type(type)) return {CastTo(q, type, overflow)};
    q = at::round(q);
    if (zero_point.defined()) q = q + Aligned(BytesOf(zero_point).to(at::kFloat), x, axis, block);
    return {CastTo(at::clamp(q, range->low, range->high).to(at::kInt), type)};
  });
}

// x = (q - zero_point) * scale   ONNX DequantizeLinear
absl::StatusOr<Kernel> BindDequantizeLinear(const Node& node, int64_t) {
  const int64_t axis = node.IntOr("axis", 1);
  const int64_t block = node.IntOr("block_size", 0);
  std::optional<at::ScalarType> output_type;
  if (node.IntOr("output_dtype", 0) != 0) {
    PACTORY_ASSIGN_OR_RETURN(output_type, ScalarTypeOf(static_cast<int>(node.IntOr("output_dtype", 0))));
  }
  return Kernel([=](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor& q = RequiredInput(arguments, 0);
    const at::Tensor& scale = RequiredInput(arguments, 1);
    const at::Tensor zero_point = OptionalInput(arguments, 2);
    // int32 differences are exact, floats of large int32 biases are not.
    const at::ScalarType exact = at::isFloat8Type(q.scalar_type()) ? at::kFloat : at::kInt;
    at::Tensor difference = BytesOf(q).to(exact);
    if (zero_point.defined()) difference = difference - Aligned(BytesOf(zero_point).to(exact), q, axis, block);
    const at::Tensor aligned = Aligned(scale, q, axis, block);
    return {(difference.to(at::kFloat) * aligned.to(at::kFloat)).to(output_type.value_or(scale.scalar_type()))};
  });
}

const OpRegistration kQuantizeLinear({.name = "QuantizeLinear", .first_opset = 10, .bind = BindQuantizeLinear});
const OpRegistration kDequantizeLinear({.name = "DequantizeLinear", .first_opset = 10, .bind = BindDequantizeLinear});

}  // namespace
}  // namespace pactory::quant
