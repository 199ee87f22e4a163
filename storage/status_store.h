// The queue and the running jobs at a glance. Used by StatusService and the HTTP pages. Thread-safe.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "pactory/v1/status.pb.h"
#include "storage/database.h"

namespace pactory {

/// Reads what is going on.
class StatusStore {
 public:
  explicit StatusStore(Database* database) : database_(*database) {}

  /// Returns the jobs by state, the queue, at most 100 running jobs, and the time by the database's clock: of one
  /// tenant, or of all of them where `tenant_id` is "", which is for the operator. Workers and the server's own fields
  /// are left out.
  absl::StatusOr<v1::GetStatusResponse> Read(const std::string& tenant_id);

  /// Whether the database answers.
  absl::Status Ping();

 private:
  Database& database_;
};

}  // namespace pactory
