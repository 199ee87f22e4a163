#include "server/reaper.h"

#include <spdlog/spdlog.h>

#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "base/status_macros.h"

namespace pactory {

Reaper::Reaper(const Parts& parts, absl::Duration every, absl::Duration preempt_after)
    : parts_(parts), every_(every), preempt_after_(preempt_after), thread_([this] { Run(); }) {}

Reaper::~Reaper() {
  stopping_.Set();
  thread_.join();
}

void Reaper::Run() {
  do {
    const absl::Status scanned = Scan();
    scan_failed_ = !scanned.ok();
    if (!scanned.ok()) spdlog::warn("reaper: {}", std::string(scanned.message()));
  } while (!stopping_.WaitFor(every_));
}

absl::Status Reaper::Scan() {
  // Also a scan in whose middle the process stands still counts from here.
  const auto begin = std::chrono::steady_clock::now();
  // Heartbeats were lost where a scan failed, or where this process stood still for a good part of a term.
  if (scan_failed_ || !last_scan_.has_value() ||
      absl::FromChrono(begin - *last_scan_) > every_ + parts_.leases->term() / 4) {
    PACTORY_RETURN_IF_ERROR(parts_.leases->ExtendAll());
    parts_.metrics->AddFreshTerm();
    spdlog::info("reaper: every lease was given a fresh term of {}", absl::FormatDuration(parts_.leases->term()));
  }
  PACTORY_ASSIGN_OR_RETURN(const std::vector<ReapedJob> reaped, parts_.leases->Reap(begin));
  last_scan_ = begin;
  parts_.metrics->SetReaperScan(absl::Now());
  for (const ReapedJob& job : reaped) Tell(job);
  return Preempt();
}

absl::Status Reaper::Preempt() {
  if (preempt_after_ == absl::InfiniteDuration()) return absl::OkStatus();
  PACTORY_ASSIGN_OR_RETURN(const std::vector<std::string> preempted, parts_.leases->Preempt(preempt_after_));
  for (const std::string& job : preempted) spdlog::info("reaper: asked to make room for a more urgent job: jobs/{}", job);
  return absl::OkStatus();
}

void Reaper::Tell(const ReapedJob& job) {
  const char* why = job.end == AttemptEnd::kWorkerLost ? "worker lost"
                    : job.end == AttemptEnd::kStalled  ? "no progress"
                                                       : "over its deadline";
  if (job.state == v1::Job::PENDING) spdlog::warn("reaper: {}, job queued again: jobs/{}", why, job.id);
  if (job.state == v1::Job::FAILED) spdlog::warn("reaper: {}, job given up: jobs/{}: {}", why, job.id, job.detail);
  if (job.state == v1::Job::CANCELLED) spdlog::info("reaper: {}, cancelled job ended: jobs/{}", why, job.id);
  parts_.metrics->AddReapedJob(job);
  parts_.wakeups->Signal(job.id);
  if (job.state == v1::Job::PENDING) parts_.wakeups->BeginTurn(kQueueTopic);
}

}  // namespace pactory
