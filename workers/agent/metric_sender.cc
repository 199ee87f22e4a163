#include "workers/agent/metric_sender.h"

#include <spdlog/spdlog.h>

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
    absl::MutexLock lock(&mutex_);
    closing_ = true;
  }
  closed_.Cancel();
  thread_.join();
}

void MetricSender::Add(const v1::MetricBatch& batch) {
  absl::MutexLock lock(&mutex_);
  if (ended_) return;
  for (const v1::Metric& metric : batch.metrics()) waiting_.push_back(metric);
  while (waiting_.size() > kMaxWaiting) {
    waiting_.pop_front();
    ++dropped_;
  }
}

void MetricSender::Drain() {
  absl::MutexLock lock(&mutex_);
  // A stop does not wake this wait by itself; metrics of a run that is to stop are not waited for.
  while (!mutex_.AwaitWithTimeout(absl::Condition(this, &MetricSender::IsEmpty), absl::Milliseconds(200))) {
    if (stop_.signal().cancelled()) return;
  }
}

void MetricSender::Run() {
  v1::ReportMetricsRequest request;
  *request.mutable_lease() = lease_;
  for (int64_t batch = 1;; ++batch) {
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(this, &MetricSender::HasWork));
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
      absl::MutexLock lock(&mutex_);
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
    absl::MutexLock lock(&mutex_);
    sending_ = false;
    if (IsLeaseLost(status) || closing_) {
      ended_ = true;
      return;
    }
  }
}

}  // namespace pactory
