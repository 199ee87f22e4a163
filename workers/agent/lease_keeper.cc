#include "workers/agent/lease_keeper.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "client/rpc_status.h"

namespace pactory {

LeaseKeeper::LeaseKeeper(ServerConnection& server, v1::LeaseToken lease, absl::Duration interval, absl::Duration time_limit,
                         JobStop& stop, std::function<void()> on_stop_training)
    : server_(server),
      lease_(std::move(lease)),
      interval_(interval),
      time_limit_(time_limit),
      stop_(stop),
      on_stop_training_(std::move(on_stop_training)),
      thread_([this] { Run(); }) {}

LeaseKeeper::~LeaseKeeper() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  changed_.notify_one();
  closed_.Cancel();
  thread_.join();
}

void LeaseKeeper::SetProgress(const v1::Progress& progress) {
  {
    const std::lock_guard lock(mutex_);
    new_stage_ = new_stage_ || progress.stage() != progress_.stage();
    progress_ = progress;
  }
  changed_.notify_one();
}

void LeaseKeeper::Run() {
  const auto start = std::chrono::steady_clock::now();
  const auto elapsed = [start] { return absl::FromChrono(std::chrono::steady_clock::now() - start); };
  absl::Duration next_beat;
  while (true) {
    const absl::Duration now = elapsed();
    if (now >= time_limit_) stop_.Request(StopReason::kDeadline);
    if (now >= next_beat) {
      Beat();
      // After a failure the next beat comes soon, so that a server back from a restart hears of the run early.
      next_beat = now + (server_away_ ? std::min(interval_, absl::Seconds(2)) : interval_);
    }
    absl::Duration wake = next_beat;
    if (time_limit_ > elapsed()) wake = std::min(wake, time_limit_);
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, absl::ToChronoNanoseconds(wake - elapsed()), [this] { return closing_ || new_stage_; });
    if (closing_) return;
    if (new_stage_ && !server_away_) next_beat = elapsed();
    new_stage_ = false;
  }
}

void LeaseKeeper::Beat() {
  v1::HeartbeatRequest request;
  *request.mutable_lease() = lease_;
  {
    const std::lock_guard lock(mutex_);
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
