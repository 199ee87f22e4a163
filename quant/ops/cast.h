// Conversion between element types as ONNX Cast defines it. Used by the op files only. Stateless.
#pragma once

#include <ATen/core/Tensor.h>

namespace pactory::quant {

/// What becomes of a number that an 8-bit float can't hold: the largest one, or the type's infinity or NaN.
enum class Overflow { kSaturate, kSpecial };

/// Returns `x` as `type` (ONNX Cast, opset 25). Integers of less than a byte keep their lowest bits.
at::Tensor CastTo(const at::Tensor& x, at::ScalarType type, Overflow overflow = Overflow::kSaturate);

/// Returns the largest number of an 8-bit float type.
double LargestFloat8(at::ScalarType type);

}  // namespace pactory::quant
