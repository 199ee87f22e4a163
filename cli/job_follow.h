// Follows a job to its end, over cuts and restarts of the server. Used by `jobs watch` and `run`. Stateless.
#pragma once

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "cli/progress_line.h"
#include "cli/session.h"
#include "pactory/v1/job.pb.h"

namespace pactory {

/// Streams the job's events to `on_event`, each once, until it is final; returns the job as it ended.
absl::StatusOr<v1::Job> WatchToEnd(Session& session, const std::string& job,
                                   const std::function<void(const v1::WatchJobResponse&)>& on_event);

/// Follows the job with its progress on standard error. An interrupt (Ctrl-C) leaves the job running and says how to go
/// on.
absl::StatusOr<v1::Job> FollowJob(Session& session, const std::string& job);

}  // namespace pactory
