// Jobs as their owners see them: create, read, list, cancel. What workers do with jobs is in LeaseStore.
// Used by JobService and StatusService. Thread-safe.
#pragma once

#include <atomic>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "pactory/v1/job.pb.h"
#include "storage/database.h"
#include "storage/page.h"
#include "storage/request_key.h"

namespace pactory {

/// Channel of PostgreSQL's NOTIFY that tells of cancelled jobs, by their id, and of new ones, by kJobsQueued.
inline constexpr char kJobChannel[] = "pactory_job";
inline constexpr char kJobsQueued[] = "queued";

/// The owner's side of the queue.
class JobStore {
 public:
  explicit JobStore(Database* database) : database_(*database) {}

  /// Queues a job whose spec is complete, and returns it without its place. The same request key returns the job made first,
  /// another content under its id INVALID_ARGUMENT. NOT_FOUND where its model or a dataset is gone; RESOURCE_EXHAUSTED with
  /// reason `QUOTA_EXCEEDED` where the tenant has as many queued jobs as it may.
  absl::StatusOr<v1::Job> Create(const std::string& tenant_id, const v1::Job& job, const RequestKey& key);

  /// Announce tells every server that jobs were queued since it ran last. WantsAnnouncement returns whether it has to be called, and
  /// by this caller. Not part of Create: until its commit a notification keeps all others of the cluster from theirs.
  bool WantsAnnouncement();
  absl::Status Announce();

  /// Returns the job made by an earlier call with this key; nullopt where there was none.
  absl::StatusOr<std::optional<v1::Job>> FindByRequest(const std::string& tenant_id, const RequestKey& key);

  /// Returns one job, while it is queued with its place and the estimate of its start; NOT_FOUND, the same for one of another tenant.
  absl::StatusOr<v1::Job> Get(const std::string& tenant_id, const std::string& id);

  /// Returns jobs, newest first, without places in the queue; of all states where `states` is empty.
  absl::StatusOr<v1::ListJobsResponse> List(const std::string& tenant_id, const PageRequest& page,
                                            const std::vector<v1::Job::State>& states);

  /// Ends a queued job, or asks for the end of a running one. A job that is CANCELLING or CANCELLED stays as it is;
  /// FAILED_PRECONDITION for one that ended otherwise.
  absl::StatusOr<v1::Job> Cancel(const std::string& tenant_id, const std::string& id);

  /// Asks for the end of the training of a queued or running job, of this attempt or the next; a second time changes nothing.
  /// FAILED_PRECONDITION for a job that ended, or is CANCELLING, without having been asked.
  absl::StatusOr<v1::Job> StopTraining(const std::string& tenant_id, const std::string& id);

 private:
  Database& database_;
  std::atomic<bool> announcing_ = false;
};

}  // namespace pactory
