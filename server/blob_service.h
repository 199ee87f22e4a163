// pactory.v1.BlobService over BlobStore: uploads and downloads that resume. Thread-safe.
#pragma once

#include <cstdint>

#include "pactory/v1/blob.grpc.pb.h"
#include "server/call.h"
#include "storage/blob_store.h"
#include "storage/lease_store.h"

namespace pactory {

/// What the blob calls work with.
struct BlobParts {
  BlobStore* blobs = nullptr;
  LeaseStore* leases = nullptr;
  /// Largest blob taken, in bytes.
  int64_t max_bytes = int64_t{5} << 30;
};

class BlobService final : public v1::BlobService::CallbackService {
 public:
  BlobService(CallContext context, const BlobParts& parts) : context_(context), parts_(parts) {}

  grpc::ServerReadReactor<v1::WriteRequest>* Write(grpc::CallbackServerContext* grpc_context,
                                                   v1::WriteResponse* response) override;
  grpc::ServerUnaryReactor* QueryWriteStatus(grpc::CallbackServerContext* grpc_context,
                                             const v1::QueryWriteStatusRequest* request,
                                             v1::QueryWriteStatusResponse* response) override;
  grpc::ServerWriteReactor<v1::ReadResponse>* Read(grpc::CallbackServerContext* grpc_context,
                                                   const v1::ReadRequest* request) override;

 private:
  const CallContext context_;
  const BlobParts parts_;
};

}  // namespace pactory
