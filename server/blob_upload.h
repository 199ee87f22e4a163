// The stream of BlobService.Write: takes messages one at a time, stores whole chunks durably, checks the digest at the
// end. Holds at most one message and one chunk. Used by BlobService. Thread-safe.
#pragma once

#include "pactory/v1/blob.pb.h"
#include "server/blob_service.h"
#include "server/call.h"

namespace pactory {

/// Starts a stream. What is less than a chunk when it is cut is dropped: `committed_size` tells the client where to go
/// on.
grpc::ServerReadReactor<v1::WriteRequest>* StartBlobUpload(const CallContext& context,
                                                           grpc::CallbackServerContext* grpc_context,
                                                           v1::WriteResponse* response, const BlobParts& parts);

}  // namespace pactory
