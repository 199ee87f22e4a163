#include "server/sweeper.h"

#include <spdlog/spdlog.h>

#include <string>

namespace pactory {

Sweeper::Sweeper(RetentionStore* store, ServerMetrics* metrics, const RetentionSettings& settings,
                 absl::Duration every)
    : store_(*store), metrics_(*metrics), settings_(settings), every_(every), thread_([this] { Run(); }) {}

Sweeper::~Sweeper() {
  stopping_.Set();
  thread_.join();
}

void Sweeper::Run() {
  while (!stopping_.WaitFor(every_)) {
    const auto report = store_.Sweep(settings_);
    if (!report.ok()) {
      spdlog::warn("sweep: {}", std::string(report.status().message()));
      continue;
    }
    metrics_.AddSweep(*report);
    spdlog::debug("sweep: jobs={} metric_days={} events={} blobs={} checkpoints={} workers={}", report->jobs,
                  report->metric_days, report->events, report->blobs, report->checkpoints, report->workers);
  }
}

}  // namespace pactory
