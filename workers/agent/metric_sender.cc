#include "workers/agent/metric_sender.h"

#include <spdlog/spdlog.h>

#include <chrono>
#include <utility>

#include "client/retry.h"
#include "client/rpc_status.h"

namespace pactory {
namespace {

constexpr size_t kMaxWaiting = 200000;
constexpr size_t kBatchSize = 1000;
// Metrics that come within this time travel together.
constexpr absl::Duration kGather = absl::Milliseconds(300);

}  // namespace

MetricSender::MetricSender(ServerConnection& server, v1::LeaseToken lease, JobStop& stop)
    : server_(server), lease_(std::move(lease)), stop_(stop), thread_([this] { Run(); }) {}

MetricSender::~MetricSender() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  changed_.notify_all();
  closed_.Cancel();
  thread_.join();
}

void MetricSender::Add(const v1::MetricBatch& batch) {
  const std::lock_guard lock(mutex_);
  if (ended_) return;
  for (const v1::Metric& metric : batch.metrics()) waiting_.push_back(metric);
  while (waiting_.size() > kMaxWaiting) {
    waiting_.pop_front();
    ++dropped_;
  }
  changed_.notify_all();
}

void MetricSender::Drain() {
  const auto is_empty = [this] { return ended_ || (waiting_.empty() && !sending_); };
  std::unique_lock lock(mutex_);
  // A stop does not wake this wait by itself; metrics of a run that is to stop are not waited for.
  while (!changed_.wait_for(lock, std::chrono::milliseconds(200), is_empty)) {
    if (stop_.signal().cancelled()) return;
  }
}

void MetricSender::Run() {
  v1::ReportMetricsRequest request;
  *request.mutable_lease() = lease_;
  for (int64_t batch = 1;; ++batch) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return closing_ || !waiting_.empty(); });
      if (closing_) return;
      sending_ = true;
      if (dropped_ > 0)
        spdlog::warn("{}: metrics dropped, the server was away for too long: {}", lease_.job(), dropped_);
      dropped_ = 0;
    }
    closed_.WaitFor(kGather);
    request.set_batch(batch);
    request.clear_metrics();
    {
      const std::lock_guard lock(mutex_);
      while (!waiting_.empty() && static_cast<size_t>(request.metrics_size()) < kBatchSize) {
        *request.add_metrics() = std::move(waiting_.front());
        waiting_.pop_front();
      }
    }
    const absl::Status status = RetryTransient(closed_, absl::InfiniteDuration(),
                                               [&] { return server_.ReportMetrics(request, closed_); });
    if (IsLeaseLost(status)) stop_.Request(StopReason::kLeaseLost);
    if (!status.ok() && !closed_.cancelled()) {
      spdlog::warn("{}: a batch of metrics was refused: {}", lease_.job(), status.ToString());
    }
    const std::lock_guard lock(mutex_);
    sending_ = false;
    ended_ = IsLeaseLost(status) || closing_;
    changed_.notify_all();
    if (ended_) return;
  }
}

}  // namespace pactory
