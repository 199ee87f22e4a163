#include "config/json_check.h"

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/error.h"
#include "base/status_macros.h"

namespace pactory {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using nlohmann::json;

absl::Status CheckMessage(const Descriptor& message, const json& value, const std::string& path);

absl::Status CheckEnum(const FieldDescriptor& field, const json& value, const std::string& path) {
  const auto& type = *field.enum_type();
  if (value.is_string() && type.FindValueByName(value.get<std::string>()) != nullptr) return absl::OkStatus();
  std::vector<std::string> names;
  for (int i = 0; i < type.value_count(); ++i) {
    // Value 0 is the unspecified one, which nobody needs to write.
    if (type.value(i)->number() != 0) names.push_back(type.value(i)->name());
  }
  return InvalidField(path, absl::StrCat("must be one of ", absl::StrJoin(names, ", "), ", not ", value.dump()));
}

absl::Status CheckScalar(const FieldDescriptor& field, const json& value, const std::string& path) {
  const std::string text = value.dump();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_ENUM:
      return CheckEnum(field, value, path);
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return CheckMessage(*field.message_type(), value, path);
    case FieldDescriptor::CPPTYPE_BOOL:
      return value.is_boolean() ? absl::OkStatus() : InvalidField(path, absl::StrCat("must be true or false, not ", text));
    case FieldDescriptor::CPPTYPE_DOUBLE:
    case FieldDescriptor::CPPTYPE_FLOAT:
      return value.is_number() ? absl::OkStatus() : InvalidField(path, absl::StrCat("must be a number, not ", text));
    case FieldDescriptor::CPPTYPE_STRING:
      return value.is_string() ? absl::OkStatus() : InvalidField(path, absl::StrCat("must be text, not ", text));
    default: {
      const int64_t limit = field.cpp_type() == FieldDescriptor::CPPTYPE_INT32 ? INT32_MAX : INT64_MAX;
      const bool whole = value.is_number_integer() && !(value.is_number_unsigned() && value.get<uint64_t>() > INT64_MAX);
      if (whole && value.get<int64_t>() <= limit && value.get<int64_t>() >= -limit - 1) return absl::OkStatus();
      // protobuf writes 64-bit integers as strings, which must be readable again.
      int64_t number = 0;
      if (value.is_string() && absl::SimpleAtoi(value.get<std::string>(), &number)) return absl::OkStatus();
      return InvalidField(path, absl::StrCat("must be a whole number, not ", text));
    }
  }
}

absl::Status CheckMessage(const Descriptor& message, const json& value, const std::string& path) {
  if (value.is_null()) return absl::OkStatus();
  if (!value.is_object()) {
    return InvalidField(path.empty() ? "config" : path, absl::StrCat("must be a mapping of fields, not ", value.dump()));
  }
  for (const auto& [key, item] : value.items()) {
    const std::string inner = path.empty() ? key : absl::StrCat(path, ".", key);
    const FieldDescriptor* field = message.FindFieldByName(key);
    if (field == nullptr) field = message.FindFieldByCamelcaseName(key);
    if (field == nullptr) {
      std::vector<std::string> names;
      for (int i = 0; i < message.field_count(); ++i) names.push_back(message.field(i)->name());
      return InvalidField(inner, absl::StrCat("unknown field; the fields here are ", absl::StrJoin(names, ", ")));
    }
    if (item.is_null()) continue;
    if (!field->is_repeated()) {
      PACTORY_RETURN_IF_ERROR(CheckScalar(*field, item, inner));
      continue;
    }
    if (!item.is_array()) return InvalidField(inner, absl::StrCat("must be a list, not ", item.dump()));
    for (size_t i = 0; i < item.size(); ++i) {
      PACTORY_RETURN_IF_ERROR(CheckScalar(*field, item[i], absl::StrCat(inner, "[", i, "]")));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckJsonAgainst(const Descriptor& message, absl::string_view text) {
  const json value = json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (value.is_discarded()) return absl::InvalidArgumentError("config is not valid YAML or JSON");
  return CheckMessage(message, value, "");
}

}  // namespace pactory
