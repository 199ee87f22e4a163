#include "storage/row_fields.h"

#include "absl/strings/str_cat.h"

namespace pactory {

google::protobuf::Timestamp TimestampOf(const pqxx::field& micros) {
  constexpr int64_t kMicrosPerSecond = 1000000;
  const auto value = micros.as<int64_t>();
  google::protobuf::Timestamp time;
  time.set_seconds(value / kMicrosPerSecond);
  time.set_nanos(static_cast<int32_t>(value % kMicrosPerSecond) * 1000);
  return time;
}

std::string TextOr(const pqxx::field& field) { return field.is_null() ? std::string() : field.as<std::string>(); }

bool ParseBytes(const pqxx::field& field, google::protobuf::MessageLite& message) {
  message.Clear();
  if (field.is_null()) return true;
  const pqxx::binarystring bytes(field);
  return message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
}

pqxx::binarystring BytesOf(const google::protobuf::MessageLite& message) {
  return pqxx::binarystring(message.SerializeAsString());
}

std::string IntervalOf(absl::Duration duration) { return absl::StrCat(absl::ToInt64Milliseconds(duration), " ms"); }

std::string ArrayOf(const std::vector<std::string>& values) {
  std::string array = "{";
  for (const std::string& value : values) {
    if (array.size() > 1) array += ',';
    array += '"';
    for (const char c : value) {
      if (c == '"' || c == '\\') array += '\\';
      array += c;
    }
    array += '"';
  }
  array += '}';
  return array;
}

}  // namespace pactory
