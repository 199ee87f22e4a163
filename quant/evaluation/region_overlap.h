// How far polygons overlap, and how many regions two sets have in common by that. Used by the metric of text detection. Stateless.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "quant/evaluation/accuracy.h"
#include "quant/evaluation/region_rows.h"

namespace pactory::quant {

/// Areas of two polygons, x and y of each corner, and of what lies in both.
struct PolygonOverlap {
  double first = 0;
  double second = 0;
  double both = 0;

  double iou() const { return both > 0 ? both / (first + second - both) : 0; }
};

/// Returns the overlap, to about 1e-3 of a pixel; where an outline crosses itself, what it goes around counts once.
PolygonOverlap OverlapOf(const std::vector<float>& first, const std::vector<float>& second);

/// Regions of a set of samples, without those that do not count.
struct RegionCounts {
  int64_t found = 0;
  int64_t expected = 0;
  /// Found and expected.
  int64_t common = 0;

  /// Shares of what is found and of what is expected that are common; 1 of nothing.
  double precision() const { return found == 0 ? 1 : static_cast<double>(common) / static_cast<double>(found); }
  double recall() const { return expected == 0 ? 1 : static_cast<double>(common) / static_cast<double>(expected); }
};

/// Counts regions. One found is common with the first expected one, in order, that no other is common with and whose intersection over
/// union with it is above 0.5 (as ICDAR 2015 has it, and PaddleOCR's DetectionIoUEvaluator). Neither ignored regions count nor those
/// found that lie in one by more than half of their area. Both are rows as RegionRows gives them, of as many samples.
RegionCounts CountRegions(const at::Tensor& found, const at::Tensor& expected);

/// Returns the harmonic mean of precision and recall, 2 * common / (found + expected), in regions; where neither has a region, they agree.
Accuracy HarmonicMean(const at::Tensor& found, const at::Tensor& expected);

}  // namespace pactory::quant
