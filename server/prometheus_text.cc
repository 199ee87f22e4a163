#include "server/prometheus_text.h"

#include <map>

#include "absl/strings/str_cat.h"

namespace pactory {

void AppendGauge(std::string& text, absl::string_view name, absl::string_view help, double value) {
  absl::StrAppend(&text, "# HELP ", name, " ", help, "\n# TYPE ", name, " gauge\n", name, " ", value, "\n");
}

void AppendStatusMetrics(std::string& text, const v1::GetStatusResponse& status) {
  std::map<v1::Job::State, int64_t> counts;
  for (int state = v1::Job::PENDING; state <= v1::Job::State_MAX; ++state)
    counts[static_cast<v1::Job::State>(state)] = 0;
  for (const v1::StateCount& count : status.jobs()) counts[count.state()] = count.count();
  absl::StrAppend(&text, "# HELP pactory_jobs Jobs by state.\n# TYPE pactory_jobs gauge\n");
  for (const auto& [state, count] : counts)
    absl::StrAppend(&text, "pactory_jobs{state=\"", v1::Job::State_Name(state), "\"} ", count, "\n");
  AppendGauge(text, "pactory_queue_depth", "Jobs that wait for a worker.", status.queue_depth());
  AppendGauge(text, "pactory_queue_oldest_age_seconds", "Age of the oldest waiting job.",
              static_cast<double>(status.oldest_queued_age().seconds()));
  AppendGauge(text, "pactory_workers", "Workers heard of in the last five minutes.", status.workers_size());
  AppendGauge(text, "pactory_uptime_seconds", "Time since the server started.",
              static_cast<double>(status.uptime().seconds()));
}

void AppendPoolMetrics(std::string& text, absl::string_view pool, const PoolStats& stats) {
  const std::string labels = absl::StrCat("{pool=\"", pool, "\"} ");
  absl::StrAppend(&text, "pactory_db_pool_size", labels, stats.size, "\n", "pactory_db_pool_in_use", labels,
                  stats.in_use, "\n", "pactory_db_pool_waiting", labels, stats.waiting, "\n",
                  "pactory_db_pool_wait_seconds_total", labels, absl::ToDoubleSeconds(stats.waited), "\n");
}

}  // namespace pactory
