// Uploads a run's checkpoints and commits them, the newest first; those overtaken meanwhile are dropped. Used by runs.
// Thread-safe.
#pragma once

#include <memory>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "workers/agent/job_stop.h"
#include "workers/agent/server_connection.h"

namespace pactory {

/// A checkpoint's file under a name of the agent's own, removed with the last holder.
class HeldCheckpoint {
 public:
  HeldCheckpoint(std::string path, int64_t step) : path_(std::move(path)), step_(step) {}
  ~HeldCheckpoint();
  HeldCheckpoint(const HeldCheckpoint&) = delete;
  HeldCheckpoint& operator=(const HeldCheckpoint&) = delete;

  const std::string& path() const { return path_; }
  int64_t step() const { return step_; }

 private:
  const std::string path_;
  const int64_t step_;
};

/// Sends on a thread of its own.
class CheckpointSender {
 public:
  /// Starts. The references must outlive this object. A lost lease is passed to `stop`.
  CheckpointSender(ServerConnection& server, v1::LeaseToken lease, JobStop& stop);
  /// Ends, also in the middle of an upload.
  ~CheckpointSender();

  /// Makes this the next checkpoint to send.
  void Offer(std::shared_ptr<const HeldCheckpoint> checkpoint);

  /// Waits until what was offered is stored or given up, at most for `time`.
  void Drain(absl::Duration time);

 private:
  void Run();
  absl::Status Send(const HeldCheckpoint& checkpoint);
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return closing_ || next_ != nullptr; }
  bool IsIdle() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !sending_ && next_ == nullptr; }

  ServerConnection& server_;
  const v1::LeaseToken lease_;
  JobStop& stop_;
  Cancellation closed_;
  absl::Mutex mutex_;
  std::shared_ptr<const HeldCheckpoint> next_ ABSL_GUARDED_BY(mutex_);
  bool sending_ ABSL_GUARDED_BY(mutex_) = false;
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace pactory
