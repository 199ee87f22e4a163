// The agent: makes itself known to the server, then leases jobs and runs them, as many at a time as it has slots. It
// outlives its trainers and the server's absence. Used by main.
#pragma once

#include <functional>
#include <set>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "client/cancellation.h"
#include "pactory/v1/worker.pb.h"
#include "workers/agent/blob_cache.h"
#include "workers/agent/job_run.h"
#include "workers/agent/server_connection.h"

namespace pactory {

/// Who the agent is and how it works.
struct AgentSettings {
  std::string worker_id;
  v1::Worker worker;
  int slots = 1;
  RunSettings run;
  /// Called once the server knows the worker.
  std::function<void()> on_registered;
};

/// An agent. Stop() may be called from any thread.
class Agent {
 public:
  /// The references must outlive the agent.
  Agent(ServerConnection& server, BlobCache& cache, AgentSettings settings);

  /// Works until stopped. Returns the server's refusal where the worker can't be registered: a token that is wrong is
  /// not tried again. An absent server is waited for.
  absl::Status Run();

  /// Ends Run(): running trainers are stopped and their leases given back.
  void Stop();

 private:
  absl::Status Register();
  void RunSlot();
  // Returns whether the job failed by what may be this host's trouble.
  bool RunJob(v1::Lease lease);

  ServerConnection& server_;
  BlobCache& cache_;
  AgentSettings settings_;
  Cancellation stop_;
  absl::Mutex mutex_;
  std::string worker_name_ ABSL_GUARDED_BY(mutex_);
  std::set<JobRun*> runs_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace pactory
