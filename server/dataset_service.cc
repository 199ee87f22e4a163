#include "server/dataset_service.h"

#include <optional>

#include "base/error.h"
#include "base/status_macros.h"
#include "server/dataset_inspection.h"
#include "server/request_fields.h"

namespace pactory {
namespace {

constexpr Method kCreateDataset = {"DatasetService/CreateDataset", Access::kUser};
constexpr Method kGetDataset = {"DatasetService/GetDataset", Access::kUser};
constexpr Method kListDatasets = {"DatasetService/ListDatasets", Access::kUser};
constexpr Method kDeleteDataset = {"DatasetService/DeleteDataset", Access::kUser};

}  // namespace

grpc::ServerUnaryReactor* DatasetService::CreateDataset(grpc::CallbackServerContext* grpc_context,
                                                        const v1::CreateDatasetRequest* request,
                                                        v1::Dataset* response) {
  return RunUnary(context_, grpc_context, kCreateDataset,
                  [=, this](const Call& call) { return Create(call.caller().tenant_id, *request, *response); });
}

absl::Status DatasetService::Create(const std::string& tenant_id, const v1::CreateDatasetRequest& request,
                                    v1::Dataset& response) {
  v1::Dataset dataset;
  dataset.set_display_name(request.dataset().display_name());
  dataset.set_blob(request.dataset().blob());
  dataset.set_format(request.dataset().format());
  PACTORY_ASSIGN_OR_RETURN(const RequestKey key, MakeRequestKey(request.request_id(), dataset));
  PACTORY_RETURN_IF_ERROR(CheckText("dataset.display_name", dataset.display_name(), kMaxDisplayName));
  PACTORY_ASSIGN_OR_RETURN(const std::string sha256, ParseBlobName("dataset.blob", dataset.blob()));
  if (dataset.format() != v1::Dataset::NPZ && dataset.format() != v1::Dataset::TAR) {
    return InvalidField("dataset.format", "must be NPZ or TAR");
  }
  PACTORY_ASSIGN_OR_RETURN(const std::optional<v1::Dataset> earlier, datasets_.FindByRequest(tenant_id, key));
  if (earlier.has_value()) {
    response = *earlier;
    return absl::OkStatus();
  }
  PACTORY_ASSIGN_OR_RETURN(const BlobInfo blob, blobs_.Find(tenant_id, sha256));
  PACTORY_ASSIGN_OR_RETURN(*dataset.mutable_arrays(),
                           InspectDataset(dataset.format(), blob.size_bytes, [&](int64_t offset, int64_t size) {
                             return blobs_.ReadExactly(blob, offset, size);
                           }));
  dataset.set_size_bytes(blob.size_bytes);
  if (request.validate_only()) {
    response = dataset;
    return absl::OkStatus();
  }
  PACTORY_ASSIGN_OR_RETURN(response, datasets_.Create(tenant_id, dataset, key));
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* DatasetService::GetDataset(grpc::CallbackServerContext* grpc_context,
                                                     const v1::GetDatasetRequest* request, v1::Dataset* response) {
  return RunUnary(context_, grpc_context, kGetDataset, [=, this](const Call& call) -> absl::Status {
    PACTORY_ASSIGN_OR_RETURN(const std::string id, ParseName("name", "datasets", request->name()));
    PACTORY_ASSIGN_OR_RETURN(*response, datasets_.Get(call.caller().tenant_id, id));
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* DatasetService::ListDatasets(grpc::CallbackServerContext* grpc_context,
                                                       const v1::ListDatasetsRequest* request,
                                                       v1::ListDatasetsResponse* response) {
  return RunUnary(context_, grpc_context, kListDatasets, [=, this](const Call& call) -> absl::Status {
    PACTORY_ASSIGN_OR_RETURN(const PageRequest page,
                             MakePageRequest(request->page_size(), request->page_token(), PageLimits{}));
    PACTORY_ASSIGN_OR_RETURN(*response, datasets_.List(call.caller().tenant_id, page));
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* DatasetService::DeleteDataset(grpc::CallbackServerContext* grpc_context,
                                                        const v1::DeleteDatasetRequest* request,
                                                        v1::DeleteDatasetResponse* response) {
  return RunUnary(context_, grpc_context, kDeleteDataset, [=, this](const Call& call) -> absl::Status {
    PACTORY_ASSIGN_OR_RETURN(const std::string id, ParseName("name", "datasets", request->name()));
    return datasets_.Delete(call.caller().tenant_id, id);
  });
}

}  // namespace pactory
