// Which methods a config may name for weights and for activations. Used by the rules of configs; a test holds the lists against the
// engine's registry. Stateless.
#pragma once

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "pactory/v1/quantization.pb.h"

namespace pactory {

/// Checks that a method quantizes weights; INVALID_ARGUMENT names `field` and lists those that do.
absl::Status CheckWeightMethod(absl::string_view field, v1::QuantizerMethod method);

/// Checks that a method quantizes activations; INVALID_ARGUMENT names `field` and lists those that do.
absl::Status CheckActivationMethod(absl::string_view field, v1::QuantizerMethod method);

/// Checks that a method's grid for activations is symmetric, as TensorRT asks for; INVALID_ARGUMENT names `field` and lists those that are.
absl::Status CheckSymmetricMethod(absl::string_view field, v1::QuantizerMethod method);

}  // namespace pactory
