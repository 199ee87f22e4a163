// Reads what a model file says of itself without loading it: weights are skipped, so memory does not grow with the
// file. Nothing in the file is trusted. Used by ModelService. Stateless.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "pactory/v1/model.pb.h"

namespace pactory {

/// Returns at most `size` bytes of a file from `offset`, and at least one where the file goes on.
using ReadSomeFn = std::function<absl::StatusOr<std::string>(int64_t offset, int64_t size)>;

/// Fills in opset, inputs, outputs, ops (of subgraphs too) and the number of parameters of the ONNX file of
/// `size_bytes`. INVALID_ARGUMENT naming `model.blob`, with reason `BAD_MODEL`, for a file that is empty, truncated or
/// no ONNX, has external data, no inputs or no outputs. Errors of `read` are passed on.
absl::Status InspectModel(int64_t size_bytes, const ReadSomeFn& read, v1::Model& model);

}  // namespace pactory
