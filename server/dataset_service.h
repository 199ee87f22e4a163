// pactory.v1.DatasetService over DatasetStore: checks the request, inspects the container, stores. Thread-safe.
#pragma once

#include "pactory/v1/dataset.grpc.pb.h"
#include "server/call.h"
#include "storage/blob_store.h"
#include "storage/dataset_store.h"

namespace pactory {

class DatasetService final : public v1::DatasetService::CallbackService {
 public:
  DatasetService(CallContext context, DatasetStore* datasets, BlobStore* blobs)
      : context_(context), datasets_(*datasets), blobs_(*blobs) {}

  grpc::ServerUnaryReactor* CreateDataset(grpc::CallbackServerContext* grpc_context,
                                          const v1::CreateDatasetRequest* request, v1::Dataset* response) override;
  grpc::ServerUnaryReactor* GetDataset(grpc::CallbackServerContext* grpc_context, const v1::GetDatasetRequest* request,
                                       v1::Dataset* response) override;
  grpc::ServerUnaryReactor* ListDatasets(grpc::CallbackServerContext* grpc_context,
                                         const v1::ListDatasetsRequest* request,
                                         v1::ListDatasetsResponse* response) override;
  grpc::ServerUnaryReactor* DeleteDataset(grpc::CallbackServerContext* grpc_context,
                                          const v1::DeleteDatasetRequest* request,
                                          v1::DeleteDatasetResponse* response) override;

 private:
  absl::Status Create(const std::string& tenant_id, const v1::CreateDatasetRequest& request, v1::Dataset& response);

  const CallContext context_;
  DatasetStore& datasets_;
  BlobStore& blobs_;
};

}  // namespace pactory
