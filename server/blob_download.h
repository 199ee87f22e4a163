// The stream of BlobService.Read: one chunk at a time, the next one read once the last one is written. Used by
// BlobService. Thread-safe.
#pragma once

#include "pactory/v1/blob.pb.h"
#include "server/blob_service.h"
#include "server/call.h"

namespace pactory {

/// Starts a stream; it ends after the last byte asked for.
grpc::ServerWriteReactor<v1::ReadResponse>* StartBlobDownload(const CallContext& context,
                                                              grpc::CallbackServerContext* grpc_context,
                                                              const v1::ReadRequest& request, const BlobParts& parts);

}  // namespace pactory
