// Removes what is kept no longer: old jobs with their history, blobs that nothing refers to, replaced checkpoints,
// workers that are gone. Used by the sweep of the server and by `pactory-server gc`. Thread-safe; sweeps may run at a
// time.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "storage/blob_store.h"
#include "storage/database.h"

namespace pactory {

/// How long things are kept.
struct RetentionSettings {
  /// Jobs with their artifacts, after their end. Infinite: for ever.
  absl::Duration jobs = absl::InfiniteDuration();
  /// Metrics, after they were stored; whole days (UTC) go.
  absl::Duration metrics = absl::Hours(90 * 24);
  /// History of jobs, after the job's end.
  absl::Duration events = absl::Hours(365 * 24);
  /// Blobs and uploads that nothing refers to, after their last use. What a worker uploads before it publishes is one
  /// of them, so it must be longer than an upload and the publication after it.
  absl::Duration unused_blobs = absl::Hours(24);
  /// Checkpoints, after a newer one replaced them or their job ended.
  absl::Duration old_checkpoints = absl::Minutes(10);
  /// Workers, after they were heard of last.
  absl::Duration workers = absl::Hours(30 * 24);
};

/// How many rows (of history: jobs whose rows; of metrics: days) a sweep removed.
struct SweepReport {
  int64_t jobs = 0;
  int64_t metric_days = 0;
  int64_t events = 0;
  int64_t blobs = 0;
  int64_t checkpoints = 0;
  int64_t workers = 0;
};

/// The one who removes.
class RetentionStore {
 public:
  RetentionStore(Database* database, BlobStore* blobs) : database_(*database), blobs_(*blobs) {}

  /// Removes what is older than `settings` say, in small transactions. What is used meanwhile stays.
  absl::StatusOr<SweepReport> Sweep(const RetentionSettings& settings);

  /// Makes the tables of the metrics of this day and the next seven. For the start of a server; each sweep does it too.
  absl::Status MakeMetricDays();

 private:
  absl::StatusOr<int64_t> DropMetricDays(absl::Duration age);
  absl::StatusOr<int64_t> RemoveInBatches(const char* name, const char* sql, absl::Duration age);

  Database& database_;
  BlobStore& blobs_;
};

}  // namespace pactory
