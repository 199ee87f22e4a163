// What commands print: tables and JSON on standard output, in the words that people use for sizes and times. Stateless.
#pragma once

#include <google/protobuf/message.h>
#include <google/protobuf/timestamp.pb.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "pactory/v1/model.pb.h"

namespace pactory {

/// Whether a JSON text is spread over lines.
enum class JsonLayout { kPretty, kOneLine };

/// Returns a message as JSON with the proto's field names, all fields present.
std::string ToJson(const google::protobuf::Message& message, JsonLayout layout = JsonLayout::kPretty);

/// Prints a message as pretty JSON.
void PrintJson(const google::protobuf::Message& message);

/// Prints rows under a header, columns aligned; nothing but the header where there are none.
void PrintTable(const std::vector<std::string>& header, const std::vector<std::vector<std::string>>& rows);

/// "1.4 MiB".
std::string SizeText(int64_t bytes);

/// "image float[?x3x224x224]".
std::string TensorText(const v1::TensorInfo& tensor);

/// "2m13s"; "1h02m" from an hour on.
std::string DurationText(absl::Duration duration);

/// "2026-05-01 13:45:10" in local time; "-" for none.
std::string TimeText(const google::protobuf::Timestamp& time);

}  // namespace pactory
