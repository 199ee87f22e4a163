// Keeps a run's lease: sends its heartbeats with the newest progress, brings back a cancel, the wish to end the training or the
// loss of the lease, and ends a run that takes longer than the job allows. Used by runs. Thread-safe.
#pragma once

#include <functional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "pactory/v1/worker.pb.h"
#include "workers/agent/job_stop.h"
#include "workers/agent/server_connection.h"

namespace pactory {

/// Beats on a thread of its own until destroyed. While the server is away it beats on: a lease is held until the server
/// says otherwise.
class LeaseKeeper {
 public:
  /// Starts; `deadline` is when the run has to be over. `on_stop_training` is called, from the thread that beats, with each heartbeat
  /// that says that the training is to end. The references must outlive this object.
  LeaseKeeper(ServerConnection& server, v1::LeaseToken lease, absl::Duration interval, absl::Time deadline, JobStop& stop,
              std::function<void()> on_stop_training);
  ~LeaseKeeper();

  /// The progress that the next heartbeat tells. A new stage is told at once.
  void SetProgress(const v1::Progress& progress);

 private:
  void Run();
  void Beat();
  bool ShallWake() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return closing_ || new_stage_; }

  ServerConnection& server_;
  const v1::LeaseToken lease_;
  const absl::Duration interval_;
  const absl::Time deadline_;
  JobStop& stop_;
  const std::function<void()> on_stop_training_;
  Cancellation closed_;
  absl::Mutex mutex_;
  v1::Progress progress_ ABSL_GUARDED_BY(mutex_);
  bool new_stage_ ABSL_GUARDED_BY(mutex_) = false;
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  bool server_away_ = false;
  std::thread thread_;
};

}  // namespace pactory
