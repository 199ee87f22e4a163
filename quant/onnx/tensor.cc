#include "quant/onnx/tensor.h"

#include <ATen/ATen.h>
#include <onnx/onnx_pb.h>

#include <cstring>
#include <limits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"

namespace pactory::quant {
namespace {

struct TypePair {
  int onnx;
  at::ScalarType torch;
};

constexpr TypePair kTypes[] = {
    {onnx::TensorProto::FLOAT, at::kFloat},     {onnx::TensorProto::DOUBLE, at::kDouble},
    {onnx::TensorProto::FLOAT16, at::kHalf},    {onnx::TensorProto::BFLOAT16, at::kBFloat16},
    {onnx::TensorProto::INT8, at::kChar},       {onnx::TensorProto::INT16, at::kShort},
    {onnx::TensorProto::INT32, at::kInt},       {onnx::TensorProto::INT64, at::kLong},
    {onnx::TensorProto::UINT8, at::kByte},      {onnx::TensorProto::UINT16, at::kUInt16},
    {onnx::TensorProto::UINT32, at::kUInt32},   {onnx::TensorProto::UINT64, at::kUInt64},
    {onnx::TensorProto::BOOL, at::kBool},
    // Numbers of types that are newer than the protobuf this is built with.
    {17, at::kFloat8_e4m3fn},                   {18, at::kFloat8_e4m3fnuz},
    {19, at::kFloat8_e5m2},                     {20, at::kFloat8_e5m2fnuz},
    {21, at::kUInt4},                           {22, at::kInt4},
    {24, at::kFloat8_e8m0fnu},                  {25, at::kUInt2},
    {26, at::kInt2},
};

std::string TypeName(int data_type) {
  if (data_type == 23) return "FLOAT4E2M1";
  const std::string name =
      onnx::TensorProto::DataType_IsValid(data_type)
          ? onnx::TensorProto::DataType_Name(static_cast<onnx::TensorProto::DataType>(data_type)) : "";
  return name.empty() ? absl::StrCat("type ", data_type) : name;
}

// Elements of the typed field (float_data, int32_data, ...) that stands for raw data.
template <typename Target, typename Field>
absl::Status CopyField(const Field& field, at::Tensor& tensor) {
  if (field.size() != tensor.numel()) {
    return absl::InvalidArgumentError(absl::StrCat("data must have as many elements as dims say: elements=",
                                                   field.size(), " expected=", tensor.numel()));
  }
  Target* target = static_cast<Target*>(tensor.data_ptr());
  for (const auto value : field) *target++ = static_cast<Target>(value);
  return absl::OkStatus();
}

// float16 and bfloat16 stand in int32_data as bit patterns.
absl::Status CopyBits(const google::protobuf::RepeatedField<int32_t>& field, at::Tensor& tensor) {
  return CopyField<uint16_t>(field, tensor);
}

// The file packs elements of 4 and 2 bits, the first one in the lowest bits; a tensor holds one in each byte.
int64_t ElementsPerByte(at::ScalarType type) { return IsSubByte(type) ? 8 / BitsOf(type) : 1; }

int64_t PackedBytes(int64_t elements, at::ScalarType type) {
  const int64_t each = ElementsPerByte(type);
  return elements / each + (elements % each != 0 ? 1 : 0);
}

void Unpack(const uint8_t* packed, at::Tensor& tensor) {
  const int64_t bits = BitsOf(tensor.scalar_type());
  const int64_t each = 8 / bits;
  const int shift = static_cast<int>(8 - bits);
  const bool is_signed = tensor.scalar_type() == at::kInt4 || tensor.scalar_type() == at::kInt2;
  uint8_t* target = static_cast<uint8_t*>(tensor.data_ptr());
  for (int64_t index = 0; index < tensor.numel(); ++index) {
    const uint8_t high = static_cast<uint8_t>(packed[index / each] >> (index % each * bits) << shift);
    // The sign bit is spread by an arithmetic shift.
    target[index] = is_signed ? static_cast<uint8_t>(static_cast<int8_t>(high) >> shift) : high >> shift;
  }
}

std::string Pack(const at::Tensor& tensor) {
  const int64_t bits = BitsOf(tensor.scalar_type());
  const int64_t each = 8 / bits;
  const uint8_t mask = static_cast<uint8_t>((1 << bits) - 1);
  const uint8_t* source = static_cast<const uint8_t*>(tensor.data_ptr());
  std::string packed(PackedBytes(tensor.numel(), tensor.scalar_type()), '\0');
  for (int64_t index = 0; index < tensor.numel(); ++index) {
    packed[index / each] |= static_cast<char>((source[index] & mask) << (index % each * bits));
  }
  return packed;
}

absl::Status CopyPacked(const google::protobuf::RepeatedField<int32_t>& field, at::Tensor& tensor) {
  const int64_t expected = PackedBytes(tensor.numel(), tensor.scalar_type());
  if (field.size() != expected) {
    return absl::InvalidArgumentError(
        absl::StrCat("data must have as many bytes as dims say: bytes=", field.size(), " expected=", expected));
  }
  const std::vector<uint8_t> bytes(field.begin(), field.end());
  Unpack(bytes.data(), tensor);
  return absl::OkStatus();
}

absl::Status CopyTyped(const onnx::TensorProto& proto, at::Tensor& tensor) {
  if (IsSubByte(tensor.scalar_type())) return CopyPacked(proto.int32_data(), tensor);
  if (at::isFloat8Type(tensor.scalar_type())) return CopyField<uint8_t>(proto.int32_data(), tensor);
  switch (tensor.scalar_type()) {
    case at::kFloat: return CopyField<float>(proto.float_data(), tensor);
    case at::kDouble: return CopyField<double>(proto.double_data(), tensor);
    case at::kLong: return CopyField<int64_t>(proto.int64_data(), tensor);
    case at::kUInt32: return CopyField<uint32_t>(proto.uint64_data(), tensor);
    case at::kUInt64: return CopyField<uint64_t>(proto.uint64_data(), tensor);
    case at::kHalf:
    case at::kBFloat16: return CopyBits(proto.int32_data(), tensor);
    case at::kInt: return CopyField<int32_t>(proto.int32_data(), tensor);
    case at::kShort: return CopyField<int16_t>(proto.int32_data(), tensor);
    case at::kChar: return CopyField<int8_t>(proto.int32_data(), tensor);
    case at::kByte: return CopyField<uint8_t>(proto.int32_data(), tensor);
    case at::kUInt16: return CopyField<uint16_t>(proto.int32_data(), tensor);
    default: return CopyField<bool>(proto.int32_data(), tensor);
  }
}

}  // namespace

int64_t BitsOf(at::ScalarType type) {
  switch (type) {
    case at::kUInt4:
    case at::kInt4: return 4;
    case at::kUInt2:
    case at::kInt2: return 2;
    default: return 8 * static_cast<int64_t>(c10::elementSize(type));
  }
}

bool IsSubByte(at::ScalarType type) { return BitsOf(type) < 8; }

at::Tensor BytesOf(const at::Tensor& tensor) {
  if (!IsSubByte(tensor.scalar_type())) return tensor;
  const bool is_signed = tensor.scalar_type() == at::kInt4 || tensor.scalar_type() == at::kInt2;
  return tensor.view(is_signed ? at::kChar : at::kByte);
}

at::Tensor CopyOf(const at::Tensor& tensor) {
  // LibTorch has no copy kernel for types below a byte.
  if (IsSubByte(tensor.scalar_type())) return BytesOf(tensor).contiguous().clone().view(tensor.scalar_type());
  return tensor.contiguous().clone();
}

absl::StatusOr<at::ScalarType> ScalarTypeOf(int data_type) {
  for (const TypePair& pair : kTypes) {
    if (pair.onnx == data_type) return pair.torch;
  }
  return absl::UnimplementedError(absl::StrCat("element type is not supported: ", TypeName(data_type)));
}

absl::StatusOr<int> OnnxTypeOf(at::ScalarType type) {
  for (const TypePair& pair : kTypes) {
    if (pair.torch == type) return pair.onnx;
  }
  return absl::UnimplementedError(absl::StrCat("ONNX has no element type for ", c10::toString(type)));
}

absl::StatusOr<at::Tensor> TensorFromProto(const onnx::TensorProto& proto) {
  const std::string where = absl::StrCat(": tensor=", proto.name());
  if (proto.data_location() == onnx::TensorProto::EXTERNAL || proto.external_data_size() > 0) {
    return absl::InvalidArgumentError(absl::StrCat("tensor data must be inside the file, not external", where,
                                                   "; store it so: onnx.save(onnx.load(path), path), or export with "
                                                   "external_data=False"));
  }
  if (proto.has_segment()) return absl::UnimplementedError(absl::StrCat("segmented tensors are not supported", where));
  absl::StatusOr<at::ScalarType> type = ScalarTypeOf(proto.data_type());
  if (!type.ok()) return absl::UnimplementedError(absl::StrCat(type.status().message(), where));

  const std::vector<int64_t> dims(proto.dims().begin(), proto.dims().end());
  const std::string shape = absl::StrCat(" dims=[", absl::StrJoin(dims, ","), "]");
  // The file's own data bounds the element count, so that hostile dims never reach the allocator.
  const size_t available = std::max<size_t>(
      {proto.raw_data().size() * 8 / BitsOf(*type), static_cast<size_t>(proto.float_data_size()),
       static_cast<size_t>(proto.int32_data_size() * ElementsPerByte(*type)),
       static_cast<size_t>(proto.int64_data_size()),
       static_cast<size_t>(proto.double_data_size()), static_cast<size_t>(proto.uint64_data_size())});
  uint64_t elements = 1;
  for (const int64_t dim : dims) {
    if (dim < 0) return absl::InvalidArgumentError(absl::StrCat("dims must not be negative", where, shape));
    if (dim == 0) elements = 0;
  }
  for (const int64_t dim : dims) {
    if (elements == 0) break;
    if (static_cast<uint64_t>(dim) > std::numeric_limits<int64_t>::max() / elements) {
      return absl::InvalidArgumentError(absl::StrCat("dims must fit the tensor's data", where, shape));
    }
    elements *= dim;
  }
  if (elements > available) {
    return absl::InvalidArgumentError(absl::StrCat("data must have as many elements as dims say", where, shape,
                                                   " elements=", available, " expected=", elements));
  }
  at::Tensor tensor = at::empty(dims, at::TensorOptions().dtype(*type));
  if (!proto.raw_data().empty()) {
    const size_t expected =
        IsSubByte(*type) ? static_cast<size_t>(PackedBytes(tensor.numel(), *type)) : tensor.nbytes();
    if (proto.raw_data().size() != expected) {
      return absl::InvalidArgumentError(absl::StrCat("raw data must fit the dims", where, shape, " bytes=",
                                                     proto.raw_data().size(), " expected=", expected));
    }
    if (IsSubByte(*type)) Unpack(reinterpret_cast<const uint8_t*>(proto.raw_data().data()), tensor);
    else std::memcpy(tensor.data_ptr(), proto.raw_data().data(), expected);
  } else if (absl::Status status = CopyTyped(proto, tensor); !status.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(status.message(), where, shape));
  }
  if (*type == at::kBool) {
    // Any non-zero byte is true in the file; a C++ bool must be 0 or 1.
    uint8_t* bytes = static_cast<uint8_t*>(tensor.data_ptr());
    for (int64_t index = 0; index < tensor.numel(); ++index) bytes[index] = bytes[index] != 0 ? 1 : 0;
  }
  return tensor;
}

absl::StatusOr<onnx::TensorProto> TensorToProto(const at::Tensor& tensor, absl::string_view name) {
  if (!tensor.defined()) return absl::InvalidArgumentError(absl::StrCat("tensor must be defined: tensor=", name));
  absl::StatusOr<int> type = OnnxTypeOf(tensor.scalar_type());
  if (!type.ok()) return absl::UnimplementedError(absl::StrCat(type.status().message(), ": tensor=", name));
  onnx::TensorProto proto;
  proto.set_name(std::string(name));
  proto.set_data_type(*type);
  for (const int64_t dim : tensor.sizes()) proto.add_dims(dim);
  if (IsSubByte(tensor.scalar_type())) {
    proto.set_raw_data(Pack(BytesOf(tensor).to(at::kCPU).contiguous().view(tensor.scalar_type())));
    return proto;
  }
  const at::Tensor dense = tensor.detach().to(at::kCPU).contiguous();
  proto.set_raw_data(dense.data_ptr(), dense.nbytes());
  return proto;
}

}  // namespace pactory::quant
