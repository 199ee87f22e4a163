#include "workers/agent/agent.h"

#include <google/protobuf/util/time_util.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <thread>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "client/backoff.h"
#include "client/retry.h"
#include "client/rpc_status.h"

namespace pactory {
namespace {

constexpr absl::Duration kLeaseWait = absl::Seconds(20);
constexpr absl::Duration kLongestHeartbeatInterval = absl::Seconds(10);
constexpr absl::Duration kFirstRest = absl::Seconds(1);
constexpr absl::Duration kLongestRest = absl::Minutes(2);

}  // namespace

Agent::Agent(ServerConnection& server, BlobCache& cache, AgentSettings settings)
    : server_(server), cache_(cache), settings_(std::move(settings)) {}

absl::Status Agent::Register() {
  v1::RegisterWorkerRequest request;
  request.set_worker_id(settings_.worker_id);
  *request.mutable_worker() = settings_.worker;
  request.mutable_worker()->mutable_capabilities()->set_slots(settings_.slots);
  v1::RegisterWorkerResponse response;
  bool told = false;
  PACTORY_RETURN_IF_ERROR(RetryTransient(stop_, absl::InfiniteDuration(), [&]() -> absl::Status {
    auto answer = server_.Register(request, stop_);
    if (!answer.ok()) {
      if (!told && IsTransient(answer.status())) spdlog::warn("waiting for the server: {}", answer.status().ToString());
      told = true;
      return answer.status();
    }
    response = *std::move(answer);
    return absl::OkStatus();
  }));
  absl::MutexLock lock(&mutex_);
  worker_name_ = response.name();
  const int64_t interval_ms = google::protobuf::util::TimeUtil::DurationToMilliseconds(response.heartbeat_interval());
  if (interval_ms > 0) {
    settings_.run.heartbeat_interval = std::min(absl::Milliseconds(interval_ms), kLongestHeartbeatInterval);
  }
  spdlog::info("registered as {}, {} slot(s), heartbeat every {}", worker_name_, settings_.slots,
               absl::FormatDuration(settings_.run.heartbeat_interval));
  return absl::OkStatus();
}

absl::Status Agent::Run() {
  const absl::Status registered = Register();
  if (stop_.cancelled()) return absl::OkStatus();
  PACTORY_RETURN_IF_ERROR(registered);
  if (settings_.on_registered) settings_.on_registered();
  std::vector<std::thread> slots;
  for (int slot = 0; slot < settings_.slots; ++slot) slots.emplace_back([this] { RunSlot(); });
  for (std::thread& slot : slots) slot.join();
  return absl::OkStatus();
}

void Agent::Stop() {
  stop_.Cancel();
  absl::MutexLock lock(&mutex_);
  for (JobRun* run : runs_) run->stop().Request(StopReason::kShutdown);
}

void Agent::RunSlot() {
  Backoff backoff;
  // A host with a full disk would take and fail one job of the queue after the other.
  Backoff rest(kFirstRest, kLongestRest);
  bool server_away = false;
  while (!stop_.cancelled()) {
    std::string worker;
    {
      absl::MutexLock lock(&mutex_);
      worker = worker_name_;
    }
    auto lease = server_.LeaseJob(worker, kLeaseWait, stop_);
    if (stop_.cancelled()) {
      if (lease.ok() && lease->has_value()) {
        Cancellation none;
        server_.ReleaseJob((*lease)->token(), absl::Seconds(1), none).IgnoreError();
      }
      return;
    }
    if (lease.ok()) {
      backoff.Reset();
      if (server_away) spdlog::info("the server answers again");
      server_away = false;
      if (!lease->has_value()) continue;
      if (!RunJob(std::move(**lease))) {
        rest.Reset();
        continue;
      }
      const absl::Duration pause = rest.Next();
      spdlog::error("the job failed on this host, not by itself; the next is asked for in {}", absl::FormatDuration(pause));
      stop_.WaitFor(pause);
      continue;
    }
    if (!server_away) spdlog::warn("no lease: {}", lease.status().ToString());
    server_away = true;
    if (absl::IsNotFound(lease.status())) {
      // The server forgot this worker, as after a restore of its database.
      const absl::Status status = Register();
      if (!status.ok()) spdlog::error("not registered: {}", status.ToString());
    }
    stop_.WaitFor(backoff.Next());
  }
}

bool Agent::RunJob(v1::Lease lease) {
  JobRun run(server_, cache_, settings_.run, std::move(lease));
  {
    absl::MutexLock lock(&mutex_);
    runs_.insert(&run);
    if (stop_.cancelled()) run.stop().Request(StopReason::kShutdown);
  }
  const bool host_failed = run.Run();
  absl::MutexLock lock(&mutex_);
  runs_.erase(&run);
  return host_failed;
}

}  // namespace pactory
