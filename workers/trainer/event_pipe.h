// The pipes between a trainer and its agent: one TrainerJob in, TrainerEvents out, length-delimited (proto/pactory/v1/
// trainer.proto). Used by the job subcommand. Not thread-safe.
#pragma once

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "pactory/v1/trainer.pb.h"

namespace pactory {

/// Reads the job from a file descriptor; INVALID_ARGUMENT where no whole message comes.
absl::StatusOr<v1::TrainerJob> ReadJob(int fd);

/// Writes events.
class EventPipe {
 public:
  /// Borrows the descriptor.
  explicit EventPipe(int fd) : fd_(fd) {}

  /// Writes one event. Once a write has failed the other end is gone: later events are dropped.
  void Send(const v1::TrainerEvent& event);

  /// Whether the other end is gone.
  bool broken() const { return broken_; }

 private:
  const int fd_;
  bool broken_ = false;
};

}  // namespace pactory
