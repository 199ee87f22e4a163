// ONNX tensors and LibTorch tensors, one into the other. Used by import, export and `pactory-trainer run`. Stateless.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace onnx {
class TensorProto;
}

namespace pactory::quant {

/// Returns the element type of ONNX's `data_type` number; UNIMPLEMENTED names a type that LibTorch has no tensor of.
absl::StatusOr<at::ScalarType> ScalarTypeOf(int data_type);

/// Returns ONNX's `data_type` number of an element type; UNIMPLEMENTED where ONNX has none.
absl::StatusOr<int> OnnxTypeOf(at::ScalarType type);

/// Bits of one element in a file. Tensors hold types of less than a byte (int4, uint4, int2, uint2) one in each byte.
int64_t BitsOf(at::ScalarType type);
bool IsSubByte(at::ScalarType type);

/// Returns a view as int8 or uint8 where the type has less than a byte, which LibTorch can't compute with; else `tensor`.
at::Tensor BytesOf(const at::Tensor& tensor);

/// Returns a dense copy, of every type that ScalarTypeOf gives.
at::Tensor CopyOf(const at::Tensor& tensor);

/// Returns a tensor that owns a copy of `proto`'s data. INVALID_ARGUMENT names the tensor whose data is external or
/// does not fit its dims.
absl::StatusOr<at::Tensor> TensorFromProto(const onnx::TensorProto& proto);

/// Writes `tensor` with its data raw, little endian. INVALID_ARGUMENT or UNIMPLEMENTED names it.
absl::StatusOr<onnx::TensorProto> TensorToProto(const at::Tensor& tensor, absl::string_view name);

}  // namespace pactory::quant
