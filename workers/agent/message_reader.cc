#include "workers/agent/message_reader.h"

#include <google/protobuf/io/coded_stream.h>

#include "absl/strings/str_cat.h"

namespace pactory {
namespace {

constexpr uint32_t kMaxMessageBytes = 16 << 20;

}  // namespace

absl::StatusOr<bool> MessageReader::Read(google::protobuf::MessageLite& message) {
  const void* data;
  int size = 0;
  do {
    if (!input_.Next(&data, &size)) return false;
  } while (size == 0);
  input_.BackUp(size);
  google::protobuf::io::CodedInputStream coded(&input_);
  uint32_t bytes = 0;
  if (!coded.ReadVarint32(&bytes) || bytes > kMaxMessageBytes) {
    return absl::DataLossError(absl::StrCat("a message must have at most ", kMaxMessageBytes, " bytes: ", bytes));
  }
  const auto limit = coded.PushLimit(static_cast<int>(bytes));
  message.Clear();
  if (!message.MergeFromCodedStream(&coded) || !coded.ConsumedEntireMessage() || coded.BytesUntilLimit() != 0) {
    return absl::DataLossError(absl::StrCat("a message of the stream can't be parsed: bytes=", bytes));
  }
  coded.PopLimit(limit);
  return true;
}

}  // namespace pactory
