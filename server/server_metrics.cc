#include "server/server_metrics.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace pactory {
namespace {

void AppendHead(std::string& text, absl::string_view name, absl::string_view type, absl::string_view help) {
  absl::StrAppend(&text, "# HELP ", name, " ", help, "\n# TYPE ", name, " ", type, "\n");
}

}  // namespace

void SecondsHistogram::Add(double seconds) {
  const auto bucket = std::lower_bound(kBounds.begin(), kBounds.end(), seconds) - kBounds.begin();
  ++counts_[bucket];
  sum_ += seconds;
}

void SecondsHistogram::AppendTo(std::string& text, absl::string_view name, absl::string_view labels) const {
  int64_t total = 0;
  for (size_t i = 0; i < counts_.size(); ++i) {
    total += counts_[i];
    const std::string bound = i < kBounds.size() ? absl::StrCat(kBounds[i]) : "+Inf";
    absl::StrAppend(&text, name, "_bucket{", labels, ",le=\"", bound, "\"} ", total, "\n");
  }
  absl::StrAppend(&text, name, "_sum{", labels, "} ", sum_, "\n", name, "_count{", labels, "} ", total, "\n");
}

void ServerMetrics::AddRpc(const std::string& method, const std::string& code, absl::Duration took) {
  absl::MutexLock lock(&mutex_);
  rpcs_[{method, code}].Add(absl::ToDoubleSeconds(took));
}

void ServerMetrics::AddFinishedJob(const std::string& state, absl::Duration ran) {
  absl::MutexLock lock(&mutex_);
  jobs_[state].Add(absl::ToDoubleSeconds(ran));
}

void ServerMetrics::AddExpiredLeases(int count) {
  absl::MutexLock lock(&mutex_);
  expired_leases_ += count;
}

void ServerMetrics::AddBlobBytes(absl::string_view direction, int64_t bytes) {
  absl::MutexLock lock(&mutex_);
  blob_bytes_[std::string(direction)] += bytes;
}

void ServerMetrics::AppendTo(std::string& text) const {
  absl::MutexLock lock(&mutex_);
  AppendHead(text, "pactory_rpc_seconds", "histogram", "Time of RPCs by method and code; streams count whole.");
  for (const auto& [key, histogram] : rpcs_) {
    histogram.AppendTo(text, "pactory_rpc_seconds",
                       absl::StrCat("method=\"", key.first, "\",code=\"", key.second, "\""));
  }
  AppendHead(text, "pactory_job_seconds", "histogram",
             "Time of the last attempt of jobs that a worker ended, by final state.");
  for (const auto& [state, histogram] : jobs_)
    histogram.AppendTo(text, "pactory_job_seconds", absl::StrCat("state=\"", state, "\""));
  AppendHead(text, "pactory_lease_expired_total", "counter", "Leases taken back from workers that were not heard of.");
  absl::StrAppend(&text, "pactory_lease_expired_total ", expired_leases_, "\n");
  AppendHead(text, "pactory_blob_bytes_total", "counter", "Bytes of blobs stored and sent.");
  for (const auto& [direction, bytes] : blob_bytes_) {
    absl::StrAppend(&text, "pactory_blob_bytes_total{direction=\"", direction, "\"} ", bytes, "\n");
  }
}

}  // namespace pactory
