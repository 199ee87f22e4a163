// Numbers of training and published artifacts of jobs. Used by WorkerService and JobService. Thread-safe.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "pactory/v1/job.pb.h"
#include "pactory/v1/worker.pb.h"
#include "storage/database.h"
#include "storage/lease_ref.h"
#include "storage/page.h"

namespace pactory {

/// Metrics that came after a sequence number.
struct MetricsSince {
  std::vector<v1::Metric> metrics;
  /// Sequence number of the last of them; the one given where there are none.
  int64_t sequence = 0;
};

/// What jobs report while they run and leave behind.
class MetricStore {
 public:
  explicit MetricStore(Database* database) : database_(*database) {}

  /// Stores one batch under its lease; a batch whose number is not above the newest one stored is dropped.
  absl::Status Append(const LeaseRef& lease, const v1::ReportMetricsRequest& request);

  /// Returns at most `limit` metrics of a job after a sequence number, of every attempt. The caller has checked the
  /// tenant.
  absl::StatusOr<MetricsSince> ReadSince(const std::string& job_id, int64_t after_sequence, int limit);

  /// Lists the metrics of a job's newest attempt in the order they were reported; NOT_FOUND for a foreign or missing
  /// job.
  absl::StatusOr<v1::ListMetricsResponse> List(const std::string& tenant_id, const std::string& job_id,
                                               const PageRequest& page, const std::string& name_prefix);

  /// Lists the published artifacts of a job by name; NOT_FOUND for a foreign or missing job.
  absl::StatusOr<v1::ListArtifactsResponse> ListArtifacts(const std::string& tenant_id, const std::string& job_id,
                                                          const PageRequest& page);

 private:
  Database& database_;
};

}  // namespace pactory
