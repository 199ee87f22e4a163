// Which inputs of a model `preprocess` is for. Used by the server before a job is queued, and by the trainer. Stateless.
#pragma once

#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "pactory/v1/model.pb.h"
#include "pactory/v1/quantization.pb.h"

namespace pactory {

/// Returns the names of the inputs that the config's values are applied to: those of `inputs`; else the only input, or the only one of
/// several with four dimensions, where it is of floats; else none. INVALID_ARGUMENT names the field where a name is none of the model's
/// inputs of floats, or where values are set and no input is the one they are for.
absl::StatusOr<std::set<std::string>> PreprocessedInputs(const v1::PreprocessConfig& config, const v1::Model& model);

/// Whether a config moves pixels, changes colours, or does anything at all to images.
bool MovesPixels(const v1::AugmentationConfig& change);
bool ChangesColors(const v1::AugmentationConfig& change);
bool Augments(const v1::AugmentationConfig& change);

/// Checks that the config's augmentation finds images (N x C x H x W) among the inputs that are preprocessed, with 3 channels where it
/// changes saturation or hue. A shape that the model does not tell passes. INVALID_ARGUMENT names the field; an augmentation that changes
/// nothing asks for nothing.
absl::Status CheckAugmentedInputs(const v1::PreprocessConfig& config, const v1::Model& model);

}  // namespace pactory
