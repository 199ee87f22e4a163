// Puts the bodies of a model's own functions where nodes call them. Used by import. Stateless.
#pragma once

#include "absl/status/status.h"

namespace onnx {
class ModelProto;
}

namespace pactory::quant {

/// Replaces every node that calls one of `model`'s functions, in nested graphs and in functions too, by the function's
/// nodes. INVALID_ARGUMENT or UNIMPLEMENTED names a function that calls itself, grows out of bounds, or is of another
/// opset than the model.
absl::Status InlineFunctions(onnx::ModelProto& model);

}  // namespace pactory::quant
