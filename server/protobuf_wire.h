// Steps through protobuf's wire form field by field. Every length is compared with what is left before anything is read
// or kept. Used by the walk through ONNX files. Not thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/io/coded_stream.h"

namespace pactory {

enum class WireType : uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

/// The head of a field.
struct WireField {
  uint32_t number = 0;
  WireType type = WireType::kVarint;
  bool Is(uint32_t wanted_number, WireType wanted_type) const { return number == wanted_number && type == wanted_type; }
};

/// A stream whose limit is set, from its current place. All calls give INVALID_ARGUMENT where the bytes are not
/// protobuf, or end too early.
class ProtobufWire {
 public:
  explicit ProtobufWire(google::protobuf::io::CodedInputStream& input) : input_(input) {}

  /// Calls `take` for each field up to the limit; it must take or skip the field's content.
  absl::Status Fields(absl::FunctionRef<absl::Status(const WireField&)> take);

  /// Reads the length of a field and runs `inside` with the limit set to its end.
  absl::Status Message(absl::FunctionRef<absl::Status()> inside);

  absl::Status Skip(const WireField& field);
  absl::Status Varint(uint64_t& value);
  /// Appends one number, or a packed field of them; at most `limit` in all.
  absl::Status Varints(const WireField& field, size_t limit, std::vector<uint64_t>& values);
  absl::Status Bytes(int limit, std::string& value);
  /// Like Bytes, for UTF-8.
  absl::Status Text(int limit, std::string& value);

 private:
  absl::Status Length(int& length);

  google::protobuf::io::CodedInputStream& input_;
};

/// INVALID_ARGUMENT where a text is not UTF-8 or holds a zero byte.
absl::Status CheckWireText(absl::string_view text);

}  // namespace pactory
