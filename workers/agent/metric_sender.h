// Forwards a run's metrics while they happen, in numbered batches that are sent again until the server has them. Used
// by runs. Thread-safe.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <thread>

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

  ServerConnection& server_;
  const v1::LeaseToken lease_;
  JobStop& stop_;
  // Ends waits and calls of the sending thread alone.
  Cancellation closed_;
  // absl's mutex and its waits go by the system's clock.
  std::mutex mutex_;
  std::condition_variable changed_;
  // Under the mutex.
  std::deque<v1::Metric> waiting_;
  int64_t dropped_ = 0;
  bool sending_ = false;
  bool closing_ = false;
  bool ended_ = false;
  std::thread thread_;
};

}  // namespace pactory
