// Workers that made themselves known. Used by WorkerService, JobService and StatusService. Thread-safe.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "pactory/v1/worker.pb.h"
#include "storage/database.h"

namespace pactory {

/// Returns NOT_FOUND with reason `WORKER_UNKNOWN`.
absl::Status WorkerUnknown(const std::string& id);

/// How long after its last call a worker counts as live.
inline constexpr absl::Duration kWorkerLiveFor = absl::Minutes(5);

/// Stores workers and when they were last heard of.
class WorkerStore {
 public:
  explicit WorkerStore(Database* database) : database_(*database) {}

  /// Makes a worker known, or known anew.
  absl::Status Register(const std::string& id, const v1::Worker& worker);

  /// Returns the live workers with the jobs they hold, by name.
  absl::StatusOr<std::vector<v1::Worker>> ListLive();

  /// Returns what the live workers can do; once what several can.
  absl::StatusOr<std::vector<v1::WorkerCapabilities>> LiveCapabilities();

 private:
  Database& database_;
};

}  // namespace pactory
