// Regions of text in the maps that DB (Liao et al. 2020, "Real-time scene text detection with differentiable binarization") gives. Used by
// the metric of text detection. Stateless.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "absl/status/statusor.h"
#include "pactory/v1/quantization.pb.h"
#include "quant/evaluation/region_rows.h"

namespace pactory::quant {

/// Returns the regions of one map (float, height x width, on the CPU), in its pixels, those with the highest scores first. As PaddleOCR
/// does: each connected part of what is above `map_threshold` (8 neighbours; holes are none) is outlined by its smallest rectangle or,
/// for POLYGON, by its contour but for 0.002 of its length; what is smaller than `min_size`, or has a mean below `box_threshold`, is
/// none; the outline grows by area * unclip_ratio / perimeter, with round corners, and is clipped to the map. At most `max_regions`, and
/// for POLYGON kMaxPolygonCorners corners.
std::vector<ScoredRegion> FindTextRegions(const at::Tensor& map, double map_threshold, const v1::TextRegionConfig& config);

/// Corners of a polygon at most; what has more is outlined more coarsely.
inline constexpr int64_t kMaxPolygonCorners = 32;

}  // namespace pactory::quant
