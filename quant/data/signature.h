// A graph's inputs and outputs as ModelService tells them, which rules that the server applies too are written for. Used by the dataset
// readers and the pipeline. Stateless.
#pragma once

#include "absl/status/statusor.h"
#include "pactory/v1/model.pb.h"
#include "quant/graph/graph.h"

namespace pactory::quant {

/// Returns inputs and outputs. INVALID_ARGUMENT names an input that has no axis for the batch; UNIMPLEMENTED one of a type that ONNX lacks.
absl::StatusOr<v1::Model> SignatureOf(const Graph& graph);

}  // namespace pactory::quant
