// pactory.v1.ModelService over ModelStore: checks the request, inspects the file, stores. Thread-safe.
#pragma once

#include "pactory/v1/model.grpc.pb.h"
#include "server/call.h"
#include "storage/blob_store.h"
#include "storage/model_store.h"

namespace pactory {

class ModelService final : public v1::ModelService::CallbackService {
 public:
  ModelService(CallContext context, ModelStore* models, BlobStore* blobs)
      : context_(context), models_(*models), blobs_(*blobs) {}

  grpc::ServerUnaryReactor* CreateModel(grpc::CallbackServerContext* grpc_context,
                                        const v1::CreateModelRequest* request, v1::Model* response) override;
  grpc::ServerUnaryReactor* GetModel(grpc::CallbackServerContext* grpc_context, const v1::GetModelRequest* request,
                                     v1::Model* response) override;
  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* grpc_context, const v1::ListModelsRequest* request,
                                       v1::ListModelsResponse* response) override;
  grpc::ServerUnaryReactor* DeleteModel(grpc::CallbackServerContext* grpc_context,
                                        const v1::DeleteModelRequest* request,
                                        v1::DeleteModelResponse* response) override;

 private:
  absl::Status Create(const std::string& tenant_id, const v1::CreateModelRequest& request, v1::Model& response);

  const CallContext context_;
  ModelStore& models_;
  BlobStore& blobs_;
};

}  // namespace pactory
