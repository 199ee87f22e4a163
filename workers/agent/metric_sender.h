// Forwards a run's metrics while they happen, in numbered batches that are sent again until the server has them. Used
// by runs. Thread-safe.
#pragma once

#include <cstdint>
#include <deque>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "pactory/v1/job.pb.h"
#include "pactory/v1/trainer.pb.h"
#include "workers/agent/job_stop.h"
#include "workers/agent/server_connection.h"

namespace pactory {

/// Holds what an outage keeps from being sent, at most 200,000 metrics; beyond that the oldest are dropped.
class MetricSender {
 public:
  /// Starts to send. The references must outlive this object. A lost lease is passed to `stop`.
  MetricSender(ServerConnection& server, v1::LeaseToken lease, JobStop& stop);
  /// Ends without sending the rest.
  ~MetricSender();

  /// Queues metrics.
  void Add(const v1::MetricBatch& batch);

  /// Waits until everything queued is stored, or the run is to stop.
  void Drain();

 private:
  void Run();
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return closing_ || !waiting_.empty(); }
  bool IsEmpty() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return ended_ || (waiting_.empty() && !sending_); }

  ServerConnection& server_;
  const v1::LeaseToken lease_;
  JobStop& stop_;
  // Ends waits and calls of the sending thread alone.
  Cancellation closed_;
  absl::Mutex mutex_;
  std::deque<v1::Metric> waiting_ ABSL_GUARDED_BY(mutex_);
  int64_t dropped_ ABSL_GUARDED_BY(mutex_) = 0;
  bool sending_ ABSL_GUARDED_BY(mutex_) = false;
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace pactory
