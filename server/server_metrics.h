// Counters and histograms of this server process. Written by the call wrapper, the services and the reaper, read by
// /metrics. Thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "storage/attempt_end.h"
#include "storage/lease_store.h"
#include "storage/retention_store.h"

namespace pactory {

/// A histogram with fixed bounds in seconds, from a millisecond to a day.
class SecondsHistogram {
 public:
  static constexpr std::array<double, 16> kBounds = {0.001, 0.005, 0.01, 0.025, 0.05, 0.1,  0.25,  0.5,
                                                     1,     2.5,   10,   60,    300,  1800, 14400, 86400};
  void Add(double seconds);
  /// Appends the lines of Prometheus' text format; `labels` like `method="Get"`, without braces.
  void AppendTo(std::string& text, absl::string_view name, absl::string_view labels) const;

 private:
  std::array<int64_t, kBounds.size() + 1> counts_{};
  double sum_ = 0;
};

/// What this process counts.
class ServerMetrics {
 public:
  void AddRpc(const std::string& method, const std::string& code, absl::Duration took);
  void AddFinishedJob(const std::string& state, absl::Duration ran);
  /// A failed attempt that is followed by another.
  void AddRetry(FailureClass failure_class);
  void AddReapedJob(const ReapedJob& job);
  /// Every lease got a fresh term: an outage was seen.
  void AddFreshTerm();
  /// The database answered the reaper at `time`.
  void SetReaperScan(absl::Time time);
  void AddSweep(const SweepReport& report);
  void AddBlobBytes(absl::string_view direction, int64_t bytes);

  /// Appends everything in Prometheus' text format.
  void AppendTo(std::string& text) const;

 private:
  mutable absl::Mutex mutex_;
  std::map<std::pair<std::string, std::string>, SecondsHistogram> rpcs_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, SecondsHistogram> jobs_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, int64_t> blob_bytes_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, int64_t> retries_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, int64_t> reaped_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, int64_t> swept_ ABSL_GUARDED_BY(mutex_);
  int64_t given_up_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t fresh_terms_ ABSL_GUARDED_BY(mutex_) = 0;
  // Of this process; a server that never scanned is as old as its start.
  absl::Time reaper_scan_ ABSL_GUARDED_BY(mutex_) = absl::Now();
};

}  // namespace pactory
