// One client's or worker's connection to a server under load. Used by the commands of queue_load. A session belongs to one
// thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/rpc_status.h"
#include "client/server_address.h"
#include "pactory/v1/job.grpc.pb.h"
#include "pactory/v1/worker.grpc.pb.h"

namespace pactory {

/// The server, and what jobs are made of.
struct LoadTarget {
  /// `host:port` of loopback.
  std::string server;
  std::string user_token;
  std::string worker_token;
  std::string model;
  std::string data;
  std::string eval_data;
  /// Of every job's config; chaos_trainer.py scripts one seed.
  int64_t training_seed = 0;
};

class LoadSession {
 public:
  /// Opens a connection that no other session shares, as processes do.
  explicit LoadSession(const LoadTarget& target);

  /// Makes one call, again and again while the error is one that passes, at most for `patience`.
  template <typename Stub, typename Method, typename Request, typename Response>
  absl::Status Call(Stub& stub, Method method, const std::string& token, const Request& request, Response& response,
                    absl::Duration patience = absl::InfiniteDuration()) {
    const absl::Time start = absl::Now();
    while (true) {
      grpc::ClientContext context;
      PrepareCall(token, kCallTimeout, context);
      const absl::Status status = FromGrpcStatus((stub.*method)(&context, request, &response));
      if (!IsTransient(status) || absl::Now() - start > patience) return status;
      ++retries_;
      absl::SleepFor(kPause);
    }
  }

  absl::StatusOr<v1::Job> CreateJob(const v1::CreateJobRequest& request);
  absl::StatusOr<v1::Job> CancelJob(const std::string& job);
  /// Registers this session as a worker; leases are for it from then on.
  absl::Status Register();
  /// Returns a lease without a job where none came within `wait`.
  absl::StatusOr<v1::LeaseJobResponse> LeaseJob(absl::Duration wait);
  absl::Status Heartbeat(const v1::LeaseToken& lease, int64_t step);
  absl::Status Succeed(const v1::LeaseToken& lease);

  /// A job of the target's parts under a request id.
  v1::CreateJobRequest JobRequest(const std::string& request_id) const;

  /// Calls that were made again.
  int64_t retries() const { return retries_; }

 private:
  static constexpr absl::Duration kCallTimeout = absl::Seconds(30);
  static constexpr absl::Duration kPause = absl::Milliseconds(50);

  const LoadTarget& target_;
  std::unique_ptr<v1::JobService::Stub> jobs_;
  std::unique_ptr<v1::WorkerService::Stub> workers_;
  std::string worker_;
  int64_t retries_ = 0;
};

}  // namespace pactory
