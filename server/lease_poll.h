// The long poll of LeaseJob: answers as soon as a job is ready, without a thread per waiting worker. Used by
// WorkerService. Thread-safe.
#pragma once

#include "absl/time/time.h"
#include "pactory/v1/worker.pb.h"
#include "server/call.h"
#include "server/queue_glance.h"
#include "server/wakeups.h"
#include "storage/lease_store.h"

namespace pactory {

/// How old a look at the queue may be by which waiting polls decide whether to try.
inline constexpr absl::Duration kQueueGlanceEvery = absl::Milliseconds(500);

/// What a poll reads from.
struct LeasePollSources {
  LeaseStore* leases = nullptr;
  QueueGlance* glance = nullptr;
  Wakeups* wakeups = nullptr;
};

/// Starts a poll; it ends with a lease, without one when its time is over or the server stops, or with the client's
/// leaving.
grpc::ServerUnaryReactor* StartLeasePoll(const CallContext& context, grpc::CallbackServerContext* grpc_context,
                                         const v1::LeaseJobRequest& request, v1::LeaseJobResponse* response,
                                         const LeasePollSources& sources);

}  // namespace pactory
