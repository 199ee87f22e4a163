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
#include "absl/time/time.h"

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
  void AddExpiredLeases(int count);
  void AddBlobBytes(absl::string_view direction, int64_t bytes);

  /// Appends everything in Prometheus' text format.
  void AppendTo(std::string& text) const;

 private:
  mutable absl::Mutex mutex_;
  std::map<std::pair<std::string, std::string>, SecondsHistogram> rpcs_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, SecondsHistogram> jobs_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, int64_t> blob_bytes_ ABSL_GUARDED_BY(mutex_);
  int64_t expired_leases_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace pactory
