// Boxes in the outputs of an object detector. Used by the metric of object detection. Stateless.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "absl/status/statusor.h"
#include "pactory/v1/quantization.pb.h"
#include "quant/evaluation/region_rows.h"

namespace pactory::quant {

/// Candidates of a class that the suppression looks at, those with the highest scores.
inline constexpr size_t kMaxCandidates = 1000;

/// Returns the boxes of each sample, two corners each (left top, right bottom), those with the highest scores first, at most `max_boxes`.
/// `outputs` (float, on the CPU) are as BoxConfig.layout says. A row is a box of every class with a score of at least `min_score`; for
/// layouts other than CORNERS_SCORE_CLASS the boxes of a class are thinned out, from the highest score down: those go whose intersection
/// over union with one that stays is above `nms_iou`. Rows that are not finite are none. INVALID_ARGUMENT where the outputs have another
/// form.
absl::StatusOr<std::vector<std::vector<ScoredRegion>>> FindBoxes(const at::Tensor& outputs, const v1::BoxConfig& config);

}  // namespace pactory::quant
