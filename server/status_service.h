// pactory.v1.StatusService, and what the HTTP pages show: the service at a glance. Thread-safe.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "pactory/v1/status.grpc.pb.h"
#include "server/call.h"
#include "storage/status_store.h"
#include "storage/worker_store.h"

namespace pactory {

/// Puts the status together from the stores and the server's own facts.
class StatusReader {
 public:
  StatusReader(StatusStore* status, WorkerStore* workers);

  /// Returns the status of one tenant, without the names of other tenants' jobs; of all where `tenant_id` is "".
  absl::StatusOr<v1::GetStatusResponse> Read(const std::string& tenant_id);

  /// Returns what is known without the database.
  v1::GetStatusResponse WithoutDatabase() const;

 private:
  StatusStore& status_;
  WorkerStore& workers_;
  const absl::Time start_;
};

class StatusService final : public v1::StatusService::CallbackService {
 public:
  StatusService(CallContext context, StatusReader* reader) : context_(context), reader_(*reader) {}

  grpc::ServerUnaryReactor* GetStatus(grpc::CallbackServerContext* grpc_context, const v1::GetStatusRequest* request,
                                      v1::GetStatusResponse* response) override;

 private:
  const CallContext context_;
  StatusReader& reader_;
};

}  // namespace pactory
