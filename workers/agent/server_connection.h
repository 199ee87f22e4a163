// The agent's calls to the server, each with its token and deadline. Used by the agent's loop and its runs.
// Thread-safe.
#pragma once

#include <grpcpp/channel.h>

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/blob_transfer.h"
#include "client/cancellation.h"
#include "pactory/v1/worker.grpc.pb.h"

namespace pactory {

/// One call each, without retries: callers know how long trying again makes sense. A status carries the server's
/// reason.
class ServerConnection {
 public:
  ServerConnection(std::shared_ptr<grpc::Channel> channel, std::string token);

  absl::StatusOr<v1::RegisterWorkerResponse> Register(const v1::RegisterWorkerRequest& request, Cancellation& stop);

  /// Waits up to `wait` for a job. Returns nullopt where none came.
  absl::StatusOr<std::optional<v1::Lease>> LeaseJob(const std::string& worker, absl::Duration wait, Cancellation& stop);

  absl::StatusOr<v1::HeartbeatResponse> Heartbeat(const v1::HeartbeatRequest& request, absl::Duration timeout,
                                                  Cancellation& stop);
  absl::Status ReportMetrics(const v1::ReportMetricsRequest& request, Cancellation& stop);
  absl::Status CommitCheckpoint(const v1::CommitCheckpointRequest& request, Cancellation& stop);
  absl::Status FinishJob(const v1::FinishJobRequest& request, absl::Duration timeout, Cancellation& stop);
  absl::Status ReleaseJob(const v1::LeaseToken& lease, absl::Duration timeout, Cancellation& stop);

  /// Circumstances of a blob's transfer under `lease`, patient without end. This object and `stop` must outlive it.
  BlobTransfer Transfer(const v1::LeaseToken& lease, Cancellation& stop) const;

 private:
  const std::unique_ptr<v1::WorkerService::Stub> worker_;
  const std::unique_ptr<v1::BlobService::Stub> blob_;
  const std::string token_;
};

}  // namespace pactory
