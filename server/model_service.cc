#include "server/model_service.h"

#include <optional>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "server/model_inspection.h"
#include "server/request_fields.h"

namespace pactory {
namespace {

constexpr Method kCreateModel = {"ModelService/CreateModel", Access::kUser};
constexpr Method kGetModel = {"ModelService/GetModel", Access::kUser};
constexpr Method kListModels = {"ModelService/ListModels", Access::kUser};
constexpr Method kDeleteModel = {"ModelService/DeleteModel", Access::kUser};

}  // namespace

grpc::ServerUnaryReactor* ModelService::CreateModel(grpc::CallbackServerContext* grpc_context,
                                                    const v1::CreateModelRequest* request, v1::Model* response) {
  return RunUnary(context_, grpc_context, kCreateModel,
                  [=, this](const Call& call) { return Create(call.caller().tenant_id, *request, *response); });
}

absl::Status ModelService::Create(const std::string& tenant_id, const v1::CreateModelRequest& request,
                                  v1::Model& response) {
  v1::Model model;
  model.set_display_name(request.model().display_name());
  model.set_blob(request.model().blob());
  PACTORY_ASSIGN_OR_RETURN(const RequestKey key, MakeRequestKey(request.request_id(), model));
  PACTORY_RETURN_IF_ERROR(CheckText("model.display_name", model.display_name(), kMaxDisplayName));
  PACTORY_ASSIGN_OR_RETURN(const std::string sha256, ParseBlobName("model.blob", model.blob()));
  PACTORY_ASSIGN_OR_RETURN(const std::optional<v1::Model> earlier, models_.FindByRequest(tenant_id, key));
  if (earlier.has_value()) {
    response = *earlier;
    return absl::OkStatus();
  }
  PACTORY_ASSIGN_OR_RETURN(const BlobInfo blob, blobs_.Find(tenant_id, sha256));
  PACTORY_RETURN_IF_ERROR(InspectModel(
      blob.size_bytes, [&](int64_t offset, int64_t size) { return blobs_.ReadSome(blob, offset, size); }, model));
  model.set_size_bytes(blob.size_bytes);
  if (request.validate_only()) {
    response = model;
    return absl::OkStatus();
  }
  PACTORY_ASSIGN_OR_RETURN(response, models_.Create(tenant_id, model, key));
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* ModelService::GetModel(grpc::CallbackServerContext* grpc_context,
                                                 const v1::GetModelRequest* request, v1::Model* response) {
  return RunUnary(context_, grpc_context, kGetModel, [=, this](const Call& call) -> absl::Status {
    PACTORY_ASSIGN_OR_RETURN(const std::string id, ParseName("name", "models", request->name()));
    PACTORY_ASSIGN_OR_RETURN(*response, models_.Get(call.caller().tenant_id, id));
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* ModelService::ListModels(grpc::CallbackServerContext* grpc_context,
                                                   const v1::ListModelsRequest* request,
                                                   v1::ListModelsResponse* response) {
  return RunUnary(context_, grpc_context, kListModels, [=, this](const Call& call) -> absl::Status {
    PACTORY_ASSIGN_OR_RETURN(const PageRequest page,
                             MakePageRequest(request->page_size(), request->page_token(), PageLimits{}));
    PACTORY_ASSIGN_OR_RETURN(*response, models_.List(call.caller().tenant_id, page));
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* ModelService::DeleteModel(grpc::CallbackServerContext* grpc_context,
                                                    const v1::DeleteModelRequest* request,
                                                    v1::DeleteModelResponse* response) {
  return RunUnary(context_, grpc_context, kDeleteModel, [=, this](const Call& call) -> absl::Status {
    PACTORY_ASSIGN_OR_RETURN(const std::string id, ParseName("name", "models", request->name()));
    return models_.Delete(call.caller().tenant_id, id);
  });
}

}  // namespace pactory
