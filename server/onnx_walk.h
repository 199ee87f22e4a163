// Walks the wire form of an ONNX file once, from front to back, and notes the few facts a model's owner sees; tensors'
// data is skipped. Bounded in depth, in count and in length of whatever it keeps. Used by InspectModel. Stateless.
#pragma once

#include "absl/status/status.h"
#include "google/protobuf/io/coded_stream.h"
#include "pactory/v1/model.pb.h"

namespace pactory {

/// Fills in opset, inputs, outputs, ops and parameter_count from a stream of `size_bytes`. INVALID_ARGUMENT says what
/// the file must have and has not.
absl::Status WalkOnnxModel(google::protobuf::io::CodedInputStream& input, int size_bytes, v1::Model& model);

}  // namespace pactory
