#include "workers/agent/lease_keeper.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "client/rpc_status.h"

namespace pactory {

LeaseKeeper::LeaseKeeper(ServerConnection& server, v1::LeaseToken lease, absl::Duration interval, absl::Time deadline,
                         JobStop& stop, std::function<void()> on_stop_training)
    : server_(server),
      lease_(std::move(lease)),
      interval_(interval),
      deadline_(deadline),
      stop_(stop),
      on_stop_training_(std::move(on_stop_training)),
      thread_([this] { Run(); }) {}

LeaseKeeper::~LeaseKeeper() {
  {
    absl::MutexLock lock(&mutex_);
    closing_ = true;
  }
  closed_.Cancel();
  thread_.join();
}

void LeaseKeeper::SetProgress(const v1::Progress& progress) {
  absl::MutexLock lock(&mutex_);
  new_stage_ = new_stage_ || progress.stage() != progress_.stage();
  progress_ = progress;
}

void LeaseKeeper::Run() {
  absl::Time next_beat = absl::Now();
  while (true) {
    const absl::Time now = absl::Now();
    if (now >= deadline_) stop_.Request(StopReason::kDeadline);
    if (now >= next_beat) {
      Beat();
      // After a failure the next beat comes soon, so that a server back from a restart hears of the run early.
      next_beat = now + (server_away_ ? std::min(interval_, absl::Seconds(2)) : interval_);
    }
    absl::Time wake = next_beat;
    if (deadline_ > absl::Now()) wake = std::min(wake, deadline_);
    absl::MutexLock lock(&mutex_);
    mutex_.AwaitWithDeadline(absl::Condition(this, &LeaseKeeper::ShallWake), wake);
    if (closing_) return;
    if (new_stage_ && !server_away_) next_beat = absl::Now();
    new_stage_ = false;
  }
}

void LeaseKeeper::Beat() {
  v1::HeartbeatRequest request;
  *request.mutable_lease() = lease_;
  {
    absl::MutexLock lock(&mutex_);
    *request.mutable_progress() = progress_;
  }
  const auto response = server_.Heartbeat(request, std::max(interval_, absl::Seconds(2)), closed_);
  if (closed_.cancelled()) return;
  if (response.ok()) {
    if (server_away_) spdlog::info("{}: the server answers again", lease_.job());
    server_away_ = false;
    if (response->release_requested()) stop_.Request(StopReason::kPreempted);
    if (response->stop_training_requested()) on_stop_training_();
    if (response->cancel_requested()) stop_.Request(StopReason::kCancelled);
    return;
  }
  if (IsLeaseLost(response.status())) {
    spdlog::warn("{}: the lease was lost: {}", lease_.job(), response.status().ToString());
    stop_.Request(StopReason::kLeaseLost);
    return;
  }
  if (!server_away_) {
    spdlog::warn("{}: no heartbeat got through, the run goes on: {}", lease_.job(), response.status().ToString());
  }
  server_away_ = true;
}

}  // namespace pactory
