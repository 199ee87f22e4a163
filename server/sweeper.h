// Removes what the retention settings no longer keep, every few minutes, on a thread of its own. Used by Server.
// Thread-safe.
#pragma once

#include <thread>

#include "absl/time/time.h"
#include "server/server_metrics.h"
#include "server/stop_signal.h"
#include "storage/retention_store.h"

namespace pactory {

class Sweeper {
 public:
  Sweeper(RetentionStore* store, ServerMetrics* metrics, const RetentionSettings& settings, absl::Duration every);
  ~Sweeper();

 private:
  void Run();

  RetentionStore& store_;
  ServerMetrics& metrics_;
  const RetentionSettings settings_;
  const absl::Duration every_;
  StopSignal stopping_;
  std::thread thread_;
};

}  // namespace pactory
