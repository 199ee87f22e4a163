// Keeps a run's lease: sends its heartbeats with the newest progress, brings back a cancel, the wish to end the training or the
// loss of the lease, and ends a run that takes longer than the job allows. Used by runs. Thread-safe.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "absl/time/time.h"
#include "pactory/v1/worker.pb.h"
#include "workers/agent/job_stop.h"
#include "workers/agent/server_connection.h"

namespace pactory {

/// Beats on a thread of its own until destroyed. While the server is away it beats on: a lease is held until the server
/// says otherwise. A step of the system's clock changes nothing: it waits by the monotonic one.
class LeaseKeeper {
 public:
  /// Starts; the run has to be over within `time_limit`. `on_stop_training` is called, from the thread that beats, with each heartbeat
  /// that says that the training is to end. The references must outlive this object.
  LeaseKeeper(ServerConnection& server, v1::LeaseToken lease, absl::Duration interval, absl::Duration time_limit, JobStop& stop,
              std::function<void()> on_stop_training);
  ~LeaseKeeper();

  /// The progress that the next heartbeat tells. A new stage is told at once.
  void SetProgress(const v1::Progress& progress);

 private:
  void Run();
  void Beat();

  ServerConnection& server_;
  const v1::LeaseToken lease_;
  const absl::Duration interval_;
  const absl::Duration time_limit_;
  JobStop& stop_;
  const std::function<void()> on_stop_training_;
  Cancellation closed_;
  bool server_away_ = false;
  // absl's mutex and its waits go by the system's clock.
  std::mutex mutex_;
  std::condition_variable changed_;
  // Under the mutex.
  v1::Progress progress_;
  bool new_stage_ = false;
  bool closing_ = false;
  std::thread thread_;
};

}  // namespace pactory
