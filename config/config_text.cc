#include "config/config_text.h"

#include <google/protobuf/util/json_util.h>
#include <yaml-cpp/yaml.h>

#include <cctype>
#include <cmath>
#include <functional>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "config/json_check.h"

namespace pactory {
namespace {

std::string QuotedJson(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) < 0x20) {
      absl::StrAppend(&out, "\\u00", absl::Hex(static_cast<unsigned char>(c), absl::kZeroPad2));
    } else {
      out += c;
    }
  }
  return out + "\"";
}

// A plain YAML scalar is a number or a boolean where it reads as one; a quoted one ("!" tag) is always text.
std::string ScalarToJson(const YAML::Node& node) {
  const std::string& text = node.Scalar();
  if (node.Tag() == "!") return QuotedJson(text);
  if (text == "true" || text == "false") return text;
  double number = 0;
  const bool digits = !text.empty() && (std::isdigit(static_cast<unsigned char>(text.back())) || text.back() == '.');
  if (digits && absl::SimpleAtod(text, &number) && std::isfinite(number)) {
    // YAML's `.5`, `5.` and `+5` are no JSON numbers.
    const bool json = std::isdigit(static_cast<unsigned char>(text.back())) &&
                      (std::isdigit(static_cast<unsigned char>(text[0])) ||
                       (text[0] == '-' && text.size() > 1 && std::isdigit(static_cast<unsigned char>(text[1]))));
    return json && !absl::StartsWith(text, "0x") ? text : absl::StrCat(number);
  }
  return QuotedJson(text);
}

std::string YamlToJson(const YAML::Node& node) {
  switch (node.Type()) {
    case YAML::NodeType::Scalar:
      return ScalarToJson(node);
    case YAML::NodeType::Sequence: {
      std::vector<std::string> items;
      for (const YAML::Node& item : node) items.push_back(YamlToJson(item));
      return absl::StrCat("[", absl::StrJoin(items, ","), "]");
    }
    case YAML::NodeType::Map: {
      std::vector<std::string> items;
      for (const auto& item : node) {
        items.push_back(absl::StrCat(QuotedJson(item.first.Scalar()), ":", YamlToJson(item.second)));
      }
      return absl::StrCat("{", absl::StrJoin(items, ","), "}");
    }
    default:
      return "null";
  }
}

google::protobuf::util::JsonPrintOptions PrintOptions() {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.preserve_proto_field_names = true;
  return options;
}

}  // namespace

absl::StatusOr<v1::QuantizationConfig> ParseConfig(absl::string_view text) {
  std::string json;
  try {
    const YAML::Node root = YAML::Load(std::string(text));
    if (!root.IsMap() && !root.IsNull()) {
      return absl::InvalidArgumentError("config must be a mapping of fields, like `weights: {bits: 8}`");
    }
    json = root.IsNull() ? "{}" : YamlToJson(root);
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(absl::StrCat("config is not valid YAML or JSON: ", error.what()));
  }
  // protobuf's own message for an unknown field or a bad value does not say where it stands.
  PACTORY_RETURN_IF_ERROR(CheckJsonAgainst(*v1::QuantizationConfig::descriptor(), json));
  v1::QuantizationConfig config;
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = false;
  const auto status = google::protobuf::util::JsonStringToMessage(json, &config, options);
  if (!status.ok()) return absl::InvalidArgumentError(absl::StrCat("config: ", std::string(status.message())));
  return config;
}

absl::Status SetConfigField(v1::QuantizationConfig& config, absl::string_view assignment) {
  const std::vector<std::string> halves = absl::StrSplit(assignment, absl::MaxSplits('=', 1));
  if (halves.size() != 2 || halves[0].empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--set must look like path=value, for example training.steps=100: ", assignment));
  }
  const std::vector<std::string> path = absl::StrSplit(halves[0], '.');
  std::string yaml = halves[1];
  // Nested flow mappings: `a.b=1` is `{a: {b: 1}}`.
  for (auto part = path.rbegin(); part != path.rend(); ++part) yaml = absl::StrCat("{", *part, ": ", yaml, "}");
  PACTORY_ASSIGN_OR_RETURN(const v1::QuantizationConfig change, ParseConfig(yaml));
  // A list is replaced as a whole, as a file that sets it would; MergeFrom alone would append.
  google::protobuf::Message* owner = &config;
  const google::protobuf::Message* source = &change;
  for (size_t i = 0; i < path.size(); ++i) {
    const auto* field = owner->GetDescriptor()->FindFieldByName(path[i]);
    if (field == nullptr) break;
    if (field->is_repeated()) {
      owner->GetReflection()->ClearField(owner, field);
      break;
    }
    if (field->message_type() == nullptr || i + 1 == path.size()) break;
    owner = owner->GetReflection()->MutableMessage(owner, field);
    source = &source->GetReflection()->GetMessage(*source, field);
  }
  config.MergeFrom(change);
  return absl::OkStatus();
}

std::string ConfigToJson(const v1::QuantizationConfig& config) {
  std::string json;
  // Printing a message without `Any` fields cannot fail.
  (void)google::protobuf::util::MessageToJsonString(config, &json, PrintOptions());
  return json;
}

std::string ConfigToYaml(const v1::QuantizationConfig& config) {
  YAML::Node root = YAML::Load(ConfigToJson(config));
  YAML::Emitter out;
  const std::function<void(YAML::Node)> plain = [&plain](YAML::Node node) {
    node.SetStyle(node.IsSequence() ? YAML::EmitterStyle::Flow : YAML::EmitterStyle::Block);
    if (node.IsMap()) {
      for (auto item : node) plain(item.second);
    } else if (node.IsScalar()) {
      node.SetTag("?");  // Drops the mark of a quoted JSON string, so that enum names are written plain.
    }
  };
  plain(root);
  out << root;
  return absl::StrCat(out.c_str(), "\n");
}

}  // namespace pactory
