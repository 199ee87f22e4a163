#include "server/reaper.h"

#include <spdlog/spdlog.h>

#include <string>

#include "absl/time/clock.h"
#include "base/status_macros.h"

namespace pactory {
namespace {

constexpr absl::Duration kCollectEvery = absl::Hours(1);

}  // namespace

Reaper::Reaper(const Parts& parts, const Options& options)
    : parts_(parts), options_(options), next_collection_(absl::Now() + kCollectEvery), thread_([this] { Run(); }) {}

Reaper::~Reaper() {
  stopping_.Notify();
  thread_.join();
}

void Reaper::Run() {
  do {
    const absl::Status scanned = Scan();
    if (!scanned.ok()) spdlog::warn("reaper: {}", std::string(scanned.message()));
    if (scanned.ok() && absl::Now() >= next_collection_) CollectGarbage();
  } while (!stopping_.WaitForNotificationWithTimeout(options_.every));
}

absl::Status Reaper::Scan() {
  // A gap of half a term, beyond the pause between scans, cost workers heartbeats.
  if (absl::Now() - last_scan_ > options_.every + parts_.leases->term() / 2) {
    PACTORY_RETURN_IF_ERROR(parts_.leases->ExtendAll());
    spdlog::info("reaper: every lease was given a fresh term of {}", absl::FormatDuration(parts_.leases->term()));
  }
  PACTORY_ASSIGN_OR_RETURN(const ReapReport report, parts_.leases->Reap());
  last_scan_ = absl::Now();
  for (const std::string& job : report.requeued) spdlog::warn("reaper: worker lost, job queued again: jobs/{}", job);
  for (const std::string& job : report.failed) spdlog::warn("reaper: job given up: jobs/{}", job);
  for (const std::string& job : report.cancelled)
    spdlog::info("reaper: worker lost, cancelled job ended: jobs/{}", job);
  const size_t reaped = report.requeued.size() + report.failed.size() + report.cancelled.size();
  if (reaped == 0) return absl::OkStatus();
  parts_.metrics->AddExpiredLeases(static_cast<int>(reaped));
  for (const auto* jobs : {&report.requeued, &report.failed, &report.cancelled}) {
    for (const std::string& job : *jobs) parts_.wakeups->Signal(job);
  }
  if (!report.requeued.empty()) parts_.wakeups->Signal(kQueueTopic);
  return absl::OkStatus();
}

void Reaper::CollectGarbage() {
  next_collection_ = absl::Now() + kCollectEvery;
  const auto removed = parts_.blobs->CollectGarbage(options_.unused_blobs_after);
  if (!removed.ok()) spdlog::warn("reaper: {}", std::string(removed.status().message()));
  if (removed.ok() && *removed > 0) spdlog::info("reaper: removed {} blobs that nothing refers to", *removed);
}

}  // namespace pactory
