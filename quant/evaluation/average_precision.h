// COCO's average precision of boxes (Lin et al. 2014; pycocotools' COCOeval for `bbox`, all areas, 100 boxes of a class and image). Used by
// the metric of object detection. Stateless.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "quant/evaluation/accuracy.h"

namespace pactory::quant {

/// Returns the intersection over union of two boxes, x and y of at least two corners each, by their outermost ones; 0 of two points.
double BoxIou(const std::vector<float>& first, const std::vector<float>& second);

/// Means over the classes that are expected anywhere, in [0, 1]; 0 where none is.
struct AveragePrecision {
  /// Over intersections over union from 0.5 to 0.95 by 0.05.
  double mean = 0;
  double at50 = 0;
  double at75 = 0;
};

/// `found` and `expected`: rows as RegionRows gives them, of as many samples. Found boxes are matched from the highest score down, each
/// with the expected box of its class and sample that it overlaps most and that no other has; one that an ignored box (a crowd, whose
/// overlap is over the found box's area) alone matches does not count. Precision at 101 recalls from 0 to 1, each the highest at that
/// recall or above.
AveragePrecision MeanAveragePrecision(const at::Tensor& found, const at::Tensor& expected);

/// Returns what share of two models' boxes are common: 2 * common / all boxes with a score of at least `least_score`. Two are common where
/// class and place (intersection over union above 0.5) agree, each with one other at most. Where neither has a box, they agree.
Accuracy CommonBoxes(const at::Tensor& first, const at::Tensor& second, double least_score);

}  // namespace pactory::quant
