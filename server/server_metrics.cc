#include "server/server_metrics.h"

#include <algorithm>
#include <initializer_list>

#include "absl/strings/str_cat.h"

namespace pactory {
namespace {

void AppendHead(std::string& text, absl::string_view name, absl::string_view type, absl::string_view help) {
  absl::StrAppend(&text, "# HELP ", name, " ", help, "\n# TYPE ", name, " ", type, "\n");
}

// Those that were never counted stand there as 0, so that a rate over them is known from the start.
void AppendCounters(std::string& text, absl::string_view name, absl::string_view help, absl::string_view label,
                    std::initializer_list<const char*> values, const std::map<std::string, int64_t>& counts) {
  AppendHead(text, name, "counter", help);
  for (const char* value : values) {
    const auto count = counts.find(value);
    absl::StrAppend(&text, name, "{", label, "=\"", value, "\"} ", count == counts.end() ? 0 : count->second, "\n");
  }
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

void ServerMetrics::AddRetry(FailureClass failure_class) {
  absl::MutexLock lock(&mutex_);
  ++retries_[std::string(FailureClassName(failure_class))];
}

void ServerMetrics::AddReapedJob(const ReapedJob& job) {
  absl::MutexLock lock(&mutex_);
  ++reaped_[job.end == AttemptEnd::kWorkerLost ? "worker_lost" : job.end == AttemptEnd::kStalled ? "stalled" : "deadline"];
  if (job.state == v1::Job::FAILED) ++given_up_;
}

void ServerMetrics::AddFreshTerm() {
  absl::MutexLock lock(&mutex_);
  ++fresh_terms_;
}

void ServerMetrics::SetReaperScan(absl::Time time) {
  absl::MutexLock lock(&mutex_);
  reaper_scan_ = time;
}

void ServerMetrics::AddSweep(const SweepReport& report) {
  absl::MutexLock lock(&mutex_);
  swept_["job"] += report.jobs;
  swept_["metric_day"] += report.metric_days;
  swept_["event"] += report.events;
  swept_["blob"] += report.blobs;
  swept_["checkpoint"] += report.checkpoints;
  swept_["worker"] += report.workers;
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
  AppendCounters(text, "pactory_lease_expired_total",
                 "Leases taken back: the worker was not heard of, showed no progress, or was over the deadline.", "why",
                 {"worker_lost", "stalled", "deadline"}, reaped_);
  AppendHead(text, "pactory_job_given_up_total", "counter", "Jobs FAILED by the server for lost or stalled attempts.");
  absl::StrAppend(&text, "pactory_job_given_up_total ", given_up_, "\n");
  AppendCounters(text, "pactory_job_retry_total", "Failed attempts that are followed by another, by class.", "class",
                 {"internal", "out_of_memory"}, retries_);
  AppendHead(text, "pactory_lease_fresh_term_total", "counter",
             "Times every lease got a fresh term, for an outage of the database or of this server was seen.");
  absl::StrAppend(&text, "pactory_lease_fresh_term_total ", fresh_terms_, "\n");
  AppendHead(text, "pactory_reaper_scan_age_seconds", "gauge", "Time since the database last answered the reaper.");
  absl::StrAppend(&text, "pactory_reaper_scan_age_seconds ", absl::ToDoubleSeconds(absl::Now() - reaper_scan_), "\n");
  AppendCounters(text, "pactory_swept_total", "What retention removed; for events, jobs whose rows.", "kind",
                 {"job", "metric_day", "event", "blob", "checkpoint", "worker"}, swept_);
  AppendHead(text, "pactory_blob_bytes_total", "counter", "Bytes of blobs stored and sent.");
  for (const auto& [direction, bytes] : blob_bytes_) {
    absl::StrAppend(&text, "pactory_blob_bytes_total{direction=\"", direction, "\"} ", bytes, "\n");
  }
}

}  // namespace pactory
