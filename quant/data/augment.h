// Random changes to images in training: flips, crops, zoom, brightness, contrast, saturation, hue. A pure function of seed, step and sample, so that a
// resumed training sees the same images. Used by the pipeline's batches, never by calibration or evaluation. Stateless.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "pactory/v1/quantization.pb.h"
#include "quant/graph/graph.h"

namespace pactory::quant {

/// Returns which of the graph's inputs the config augments, by index: the images (N x C x H x W) among those that are preprocessed; none
/// where it changes nothing. INVALID_ARGUMENT names the field where there is no image to augment, or one without colours for saturation
/// or hue.
absl::StatusOr<std::vector<size_t>> AugmentedInputs(const v1::PreprocessConfig& config, const Graph& graph,
                                                    const std::set<std::string>& preprocessed);

/// Returns preprocessed images `x` (N x C x H x W, float) with each one changed at random; `indices` are their places in the set.
/// Geometry comes first: resized crop, zoom, pad and crop, flips, bilinear and filled with 0 (after normalization); then, on pixels
/// p = x * std + mean: p * brightness; (p - m) * contrast + m with m the image's mean; and for saturation and hue a factor on, and a turn
/// of, the chroma of YIQ (the FCC's matrix for NTSC), which leaves the luma as it is.
at::Tensor Augment(const v1::PreprocessConfig& config, const at::Tensor& x, absl::Span<const int64_t> indices, int64_t seed,
                   int64_t step);

}  // namespace pactory::quant
