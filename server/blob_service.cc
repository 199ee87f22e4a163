#include "server/blob_service.h"

#include <optional>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/ids.h"
#include "base/status_macros.h"
#include "server/blob_access.h"
#include "server/blob_download.h"
#include "server/blob_upload.h"

namespace pactory {
namespace {

constexpr Method kQuery = {"BlobService/QueryWriteStatus", Access::kUserOrLease, Traffic::kFrequent};

}  // namespace

grpc::ServerReadReactor<v1::WriteRequest>* BlobService::Write(grpc::CallbackServerContext* grpc_context,
                                                              v1::WriteResponse* response) {
  return StartBlobUpload(context_, grpc_context, response, parts_);
}

grpc::ServerUnaryReactor* BlobService::QueryWriteStatus(grpc::CallbackServerContext* grpc_context,
                                                        const v1::QueryWriteStatusRequest* request,
                                                        v1::QueryWriteStatusResponse* response) {
  return RunUnary(context_, grpc_context, kQuery, [=, this](const Call& call) -> absl::Status {
    if (!IsUuid(request->upload_id()))
      return InvalidField("upload_id", absl::StrCat("must be a UUID: ", request->upload_id().substr(0, 100)));
    std::optional<v1::LeaseToken> token;
    if (request->has_lease()) token = request->lease();
    PACTORY_ASSIGN_OR_RETURN(const BlobOwner owner, FindBlobOwner(call.caller(), token, *parts_.leases));
    PACTORY_ASSIGN_OR_RETURN(const UploadState state, parts_.blobs->GetUpload(owner.tenant_id, request->upload_id()));
    response->set_committed_size(state.committed_size);
    response->set_complete(state.complete);
    return absl::OkStatus();
  });
}

grpc::ServerWriteReactor<v1::ReadResponse>* BlobService::Read(grpc::CallbackServerContext* grpc_context,
                                                              const v1::ReadRequest* request) {
  return StartBlobDownload(context_, grpc_context, *request, parts_);
}

}  // namespace pactory
