#include "quant/evaluation/region_overlap.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <polyclipping/clipper.hpp>

namespace pactory::quant {
namespace {

// Clipper counts in whole numbers.
constexpr double kOverlapScale = 1024;

// Simple polygons of what an outline goes around.
ClipperLib::Paths SimplePaths(const std::vector<float>& corners) {
  ClipperLib::Path path;
  for (size_t i = 0; i + 1 < corners.size(); i += 2) {
    path.emplace_back(std::llround(corners[i] * kOverlapScale), std::llround(corners[i + 1] * kOverlapScale));
  }
  ClipperLib::Paths simple;
  ClipperLib::SimplifyPolygon(path, simple, ClipperLib::pftNonZero);
  return simple;
}

double AreaOf(const ClipperLib::Paths& paths) {
  double area = 0;
  // Holes are negative.
  for (const ClipperLib::Path& path : paths) area += ClipperLib::Area(path);
  return std::abs(area) / (kOverlapScale * kOverlapScale);
}

struct OutlineShape {
  ClipperLib::Paths paths;
  float left = 0, top = 0, right = 0, bottom = 0;
  double area = 0;
};

OutlineShape ShapeOfOutline(const std::vector<float>& corners) {
  OutlineShape shape{.paths = SimplePaths(corners), .left = corners[0], .top = corners[1], .right = corners[0], .bottom = corners[1]};
  for (size_t i = 0; i + 1 < corners.size(); i += 2) {
    shape.left = std::min(shape.left, corners[i]);
    shape.right = std::max(shape.right, corners[i]);
    shape.top = std::min(shape.top, corners[i + 1]);
    shape.bottom = std::max(shape.bottom, corners[i + 1]);
  }
  shape.area = AreaOf(shape.paths);
  return shape;
}

PolygonOverlap OverlapOfShapes(const OutlineShape& first, const OutlineShape& second) {
  PolygonOverlap overlap{.first = first.area, .second = second.area};
  // Most pairs are apart.
  if (first.right <= second.left || second.right <= first.left || first.bottom <= second.top || second.bottom <= first.top) return overlap;
  ClipperLib::Clipper clipper;
  clipper.AddPaths(first.paths, ClipperLib::ptSubject, /*Closed=*/true);
  clipper.AddPaths(second.paths, ClipperLib::ptClip, /*Closed=*/true);
  ClipperLib::Paths both;
  clipper.Execute(ClipperLib::ctIntersection, both, ClipperLib::pftNonZero, ClipperLib::pftNonZero);
  overlap.both = AreaOf(both);
  return overlap;
}

RegionCounts CountsOfSample(const std::vector<ScoredRegion>& found, const std::vector<ScoredRegion>& expected) {
  constexpr double kLeastOverlap = 0.5;
  std::vector<OutlineShape> right, ignored, candidates;
  for (const ScoredRegion& region : expected) (region.ignored ? ignored : right).push_back(ShapeOfOutline(region.corners));
  for (const ScoredRegion& region : found) {
    OutlineShape shape = ShapeOfOutline(region.corners);
    const bool is_ignored = std::any_of(ignored.begin(), ignored.end(), [&](const OutlineShape& other) {
      return OverlapOfShapes(shape, other).both > kLeastOverlap * shape.area;
    });
    if (!is_ignored) candidates.push_back(std::move(shape));
  }
  RegionCounts counts{.found = static_cast<int64_t>(candidates.size()), .expected = static_cast<int64_t>(right.size())};
  std::vector<bool> taken(candidates.size());
  for (const OutlineShape& region : right) {
    for (size_t i = 0; i < candidates.size(); ++i) {
      if (taken[i] || OverlapOfShapes(region, candidates[i]).iou() <= kLeastOverlap) continue;
      taken[i] = true;
      ++counts.common;
      break;
    }
  }
  return counts;
}

}  // namespace

PolygonOverlap OverlapOf(const std::vector<float>& first, const std::vector<float>& second) {
  return OverlapOfShapes(ShapeOfOutline(first), ShapeOfOutline(second));
}

RegionCounts CountRegions(const at::Tensor& found, const at::Tensor& expected) {
  RegionCounts sum;
  for (int64_t sample = 0; sample < found.size(0); ++sample) {
    const RegionCounts counts = CountsOfSample(RegionsOf(found[sample]), RegionsOf(expected[sample]));
    sum.found += counts.found;
    sum.expected += counts.expected;
    sum.common += counts.common;
  }
  return sum;
}

Accuracy HarmonicMean(const at::Tensor& found, const at::Tensor& expected) {
  const RegionCounts counts = CountRegions(found, expected);
  Accuracy mean{.right = 2 * counts.common, .total = counts.found + counts.expected, .unit = Accuracy::Unit::kRegions};
  if (mean.total == 0) mean.right = mean.total = 1;
  return mean;
}

}  // namespace pactory::quant
