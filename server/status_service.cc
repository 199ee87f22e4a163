#include "server/status_service.h"

#include <set>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "base/version.h"

namespace pactory {
namespace {

constexpr Method kGetStatus = {"StatusService/GetStatus", Access::kUser, Traffic::kFrequent};

}  // namespace

StatusReader::StatusReader(StatusStore* status, WorkerStore* workers)
    : status_(*status), workers_(*workers), start_(absl::Now()) {}

v1::GetStatusResponse StatusReader::WithoutDatabase() const {
  v1::GetStatusResponse status;
  status.set_version(kVersion);
  status.mutable_uptime()->set_seconds(absl::ToInt64Seconds(absl::Now() - start_));
  return status;
}

absl::StatusOr<v1::GetStatusResponse> StatusReader::Read(const std::string& tenant_id) {
  PACTORY_ASSIGN_OR_RETURN(v1::GetStatusResponse status, status_.Read(tenant_id));
  status.MergeFrom(WithoutDatabase());
  status.set_database_healthy(true);
  std::set<std::string> visible;
  for (const v1::Job& job : status.running()) visible.insert(job.name());
  PACTORY_ASSIGN_OR_RETURN(std::vector<v1::Worker> workers, workers_.ListLive());
  for (v1::Worker& worker : workers) {
    if (!tenant_id.empty()) {
      auto& jobs = *worker.mutable_jobs();
      for (int i = jobs.size() - 1; i >= 0; --i) {
        if (visible.count(jobs[i]) == 0) jobs.DeleteSubrange(i, 1);
      }
    }
    *status.add_workers() = std::move(worker);
  }
  return status;
}

grpc::ServerUnaryReactor* StatusService::GetStatus(grpc::CallbackServerContext* grpc_context,
                                                   const v1::GetStatusRequest*, v1::GetStatusResponse* response) {
  return RunUnary(context_, grpc_context, kGetStatus, [=, this](const Call& call) -> absl::Status {
    PACTORY_ASSIGN_OR_RETURN(*response, reader_.Read(call.caller().tenant_id));
    return absl::OkStatus();
  });
}

}  // namespace pactory
