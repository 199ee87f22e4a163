// pactory.v1.JobService over the stores: admission, reading, cancelling, watching. Thread-safe.
#pragma once

#include "pactory/v1/job.grpc.pb.h"
#include "server/call.h"
#include "server/job_admission.h"
#include "server/wakeups.h"
#include "storage/job_store.h"
#include "storage/metric_store.h"

namespace pactory {

class JobService final : public v1::JobService::CallbackService {
 public:
  JobService(CallContext context, JobStore* jobs, MetricStore* metrics, JobAdmission* admission, Wakeups* wakeups)
      : context_(context), jobs_(*jobs), metrics_(*metrics), admission_(*admission), wakeups_(*wakeups) {}

  grpc::ServerUnaryReactor* CreateJob(grpc::CallbackServerContext* grpc_context, const v1::CreateJobRequest* request,
                                      v1::Job* response) override;
  grpc::ServerUnaryReactor* GetJob(grpc::CallbackServerContext* grpc_context, const v1::GetJobRequest* request,
                                   v1::Job* response) override;
  grpc::ServerUnaryReactor* ListJobs(grpc::CallbackServerContext* grpc_context, const v1::ListJobsRequest* request,
                                     v1::ListJobsResponse* response) override;
  grpc::ServerUnaryReactor* CancelJob(grpc::CallbackServerContext* grpc_context, const v1::CancelJobRequest* request,
                                      v1::Job* response) override;
  grpc::ServerUnaryReactor* StopTraining(grpc::CallbackServerContext* grpc_context, const v1::StopTrainingRequest* request,
                                         v1::Job* response) override;
  grpc::ServerWriteReactor<v1::WatchJobResponse>* WatchJob(grpc::CallbackServerContext* grpc_context,
                                                           const v1::WatchJobRequest* request) override;
  grpc::ServerUnaryReactor* ListMetrics(grpc::CallbackServerContext* grpc_context,
                                        const v1::ListMetricsRequest* request,
                                        v1::ListMetricsResponse* response) override;
  grpc::ServerUnaryReactor* ListArtifacts(grpc::CallbackServerContext* grpc_context,
                                          const v1::ListArtifactsRequest* request,
                                          v1::ListArtifactsResponse* response) override;

 private:
  absl::Status Create(const std::string& tenant_id, const v1::CreateJobRequest& request, v1::Job& response);

  const CallContext context_;
  JobStore& jobs_;
  MetricStore& metrics_;
  JobAdmission& admission_;
  Wakeups& wakeups_;
};

}  // namespace pactory
