// Reads length-delimited protobuf messages from a pipe whose writer is not trusted. Used for the trainer's events. Not
// thread-safe.
#pragma once

#include <google/protobuf/io/zero_copy_stream_impl.h>
#include <google/protobuf/message_lite.h>

#include "absl/status/statusor.h"

namespace pactory {

/// A stream of messages: varint length, then the message. The descriptor stays the caller's.
class MessageReader {
 public:
  explicit MessageReader(int fd) : input_(fd, 1 << 16) {}

  /// Waits for the next message. Returns false at the stream's end; DATA_LOSS where the bytes are no message, or one of
  /// more than 16 MiB.
  absl::StatusOr<bool> Read(google::protobuf::MessageLite& message);

 private:
  google::protobuf::io::FileInputStream input_;
};

}  // namespace pactory
