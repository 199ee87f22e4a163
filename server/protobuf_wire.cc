#include "server/protobuf_wire.h"

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace pactory {
namespace {

absl::Status NotOnnx() {
  return absl::InvalidArgumentError("must be an ONNX file; this one is truncated, damaged or something else");
}

// Number of bytes that follow the first byte of a character; -1 where it is none.
int FollowingBytes(unsigned char first) {
  if (first < 0x80) return 0;
  if (first >= 0xc2 && first < 0xe0) return 1;
  if (first >= 0xe0 && first < 0xf0) return 2;
  if (first >= 0xf0 && first < 0xf5) return 3;
  return -1;
}

}  // namespace

absl::Status CheckWireText(absl::string_view text) {
  const absl::Status bad = absl::InvalidArgumentError("must be an ONNX file with names in UTF-8");
  for (size_t i = 0; i < text.size();) {
    const auto first = static_cast<unsigned char>(text[i]);
    const int following = first == 0 ? -1 : FollowingBytes(first);
    if (following < 0 || i + following >= text.size()) return bad;
    for (int k = 1; k <= following; ++k) {
      if ((static_cast<unsigned char>(text[i + k]) & 0xc0) != 0x80) return bad;
    }
    // Overlong forms, surrogates and code points past U+10FFFF show in the second byte.
    const auto second = following > 0 ? static_cast<unsigned char>(text[i + 1]) : 0;
    if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) || (first == 0xf0 && second < 0x90) ||
        (first == 0xf4 && second > 0x8f)) {
      return bad;
    }
    i += following + 1;
  }
  return absl::OkStatus();
}

absl::Status ProtobufWire::Fields(absl::FunctionRef<absl::Status(const WireField&)> take) {
  while (input_.BytesUntilLimit() > 0) {
    const uint32_t tag = input_.ReadTag();
    const WireField field = {.number = tag >> 3, .type = static_cast<WireType>(tag & 7)};
    if (field.number == 0) return NotOnnx();
    PACTORY_RETURN_IF_ERROR(take(field));
  }
  return absl::OkStatus();
}

absl::Status ProtobufWire::Message(absl::FunctionRef<absl::Status()> inside) {
  int length = 0;
  PACTORY_RETURN_IF_ERROR(Length(length));
  const auto outer = input_.PushLimit(length);
  PACTORY_RETURN_IF_ERROR(inside());
  if (input_.BytesUntilLimit() != 0) return NotOnnx();
  input_.PopLimit(outer);
  return absl::OkStatus();
}

absl::Status ProtobufWire::Length(int& length) {
  if (!input_.ReadVarintSizeAsInt(&length) || length < 0 || length > input_.BytesUntilLimit()) return NotOnnx();
  return absl::OkStatus();
}

absl::Status ProtobufWire::Skip(const WireField& field) {
  switch (field.type) {
    case WireType::kVarint: {
      uint64_t unused = 0;
      return Varint(unused);
    }
    case WireType::kFixed64:
      return input_.BytesUntilLimit() >= 8 && input_.Skip(8) ? absl::OkStatus() : NotOnnx();
    case WireType::kFixed32:
      return input_.BytesUntilLimit() >= 4 && input_.Skip(4) ? absl::OkStatus() : NotOnnx();
    case WireType::kBytes: {
      int length = 0;
      PACTORY_RETURN_IF_ERROR(Length(length));
      return input_.Skip(length) ? absl::OkStatus() : NotOnnx();
    }
  }
  // Groups are long gone from protobuf, and never were in ONNX.
  return NotOnnx();
}

absl::Status ProtobufWire::Varint(uint64_t& value) {
  return input_.ReadVarint64(&value) ? absl::OkStatus() : NotOnnx();
}

absl::Status ProtobufWire::Varints(const WireField& field, size_t limit, std::vector<uint64_t>& values) {
  const auto take = [&]() -> absl::Status {
    uint64_t value = 0;
    PACTORY_RETURN_IF_ERROR(Varint(value));
    values.push_back(value);
    return values.size() <= limit
               ? absl::OkStatus()
               : absl::InvalidArgumentError(absl::StrCat("must not have tensors of more than ", limit, " dimensions"));
  };
  if (field.type == WireType::kVarint) return take();
  return Message([&]() -> absl::Status {
    while (input_.BytesUntilLimit() > 0) PACTORY_RETURN_IF_ERROR(take());
    return absl::OkStatus();
  });
}

absl::Status ProtobufWire::Bytes(int limit, std::string& value) {
  int length = 0;
  PACTORY_RETURN_IF_ERROR(Length(length));
  if (length > limit)
    return absl::InvalidArgumentError(absl::StrCat("must not have names of more than ", limit, " bytes: ", length));
  return input_.ReadString(&value, length) ? absl::OkStatus() : NotOnnx();
}

absl::Status ProtobufWire::Text(int limit, std::string& value) {
  PACTORY_RETURN_IF_ERROR(Bytes(limit, value));
  return CheckWireText(value);
}

}  // namespace pactory
