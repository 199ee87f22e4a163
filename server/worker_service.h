// pactory.v1.WorkerService over LeaseStore, MetricStore and WorkerStore. Thread-safe.
#pragma once

#include "absl/time/time.h"
#include "pactory/v1/worker.grpc.pb.h"
#include "server/call.h"
#include "server/lease_poll.h"
#include "server/queue_glance.h"
#include "server/wakeups.h"
#include "storage/lease_store.h"
#include "storage/metric_store.h"
#include "storage/worker_store.h"

namespace pactory {

class WorkerService final : public v1::WorkerService::CallbackService {
 public:
  struct Parts {
    LeaseStore* leases = nullptr;
    MetricStore* metrics = nullptr;
    WorkerStore* workers = nullptr;
    Wakeups* wakeups = nullptr;
    absl::Duration heartbeat_interval;
  };

  WorkerService(CallContext context, const Parts& parts)
      : context_(context), parts_(parts), glance_([leases = parts.leases] { return leases->AnyReady(); }, kQueueGlanceEvery) {}

  grpc::ServerUnaryReactor* RegisterWorker(grpc::CallbackServerContext* grpc_context,
                                           const v1::RegisterWorkerRequest* request,
                                           v1::RegisterWorkerResponse* response) override;
  grpc::ServerUnaryReactor* LeaseJob(grpc::CallbackServerContext* grpc_context, const v1::LeaseJobRequest* request,
                                     v1::LeaseJobResponse* response) override;
  grpc::ServerUnaryReactor* Heartbeat(grpc::CallbackServerContext* grpc_context, const v1::HeartbeatRequest* request,
                                      v1::HeartbeatResponse* response) override;
  grpc::ServerUnaryReactor* ReportMetrics(grpc::CallbackServerContext* grpc_context,
                                          const v1::ReportMetricsRequest* request,
                                          v1::ReportMetricsResponse* response) override;
  grpc::ServerUnaryReactor* CommitCheckpoint(grpc::CallbackServerContext* grpc_context,
                                             const v1::CommitCheckpointRequest* request,
                                             v1::CommitCheckpointResponse* response) override;
  grpc::ServerUnaryReactor* FinishJob(grpc::CallbackServerContext* grpc_context, const v1::FinishJobRequest* request,
                                      v1::FinishJobResponse* response) override;
  grpc::ServerUnaryReactor* ReleaseJob(grpc::CallbackServerContext* grpc_context, const v1::ReleaseJobRequest* request,
                                       v1::ReleaseJobResponse* response) override;

 private:
  absl::Status Finish(const v1::FinishJobRequest& request);

  const CallContext context_;
  const Parts parts_;
  QueueGlance glance_;
};

}  // namespace pactory
