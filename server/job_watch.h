// The stream of WatchJob: the job's state first, then each change with the metrics since. A slow reader costs one
// message of memory: nothing is queued for it, the next message is read from the database once the last one is written.
// Used by JobService. Thread-safe.
#pragma once

#include "pactory/v1/job.pb.h"
#include "server/call.h"
#include "server/wakeups.h"
#include "storage/job_store.h"
#include "storage/metric_store.h"

namespace pactory {

/// What a watch reads from.
struct JobWatchSources {
  JobStore* jobs = nullptr;
  MetricStore* metrics = nullptr;
  Wakeups* wakeups = nullptr;
};

/// Starts a stream; it ends after the final state, with the client's leaving, or UNAVAILABLE when the server stops.
grpc::ServerWriteReactor<v1::WatchJobResponse>* StartJobWatch(const CallContext& context,
                                                              grpc::CallbackServerContext* grpc_context,
                                                              const v1::WatchJobRequest& request,
                                                              const JobWatchSources& sources);

}  // namespace pactory
