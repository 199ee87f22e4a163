// What an image shows and where: objects in boxes, or text in polygons, read from the JSON beside an image. Used by tar_dataset and the
// metrics of detection. Stateless.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace pactory::quant {

/// One object.
struct Region {
  int64_t category = 0;
  /// Neither right nor wrong where it is found: COCO's crowds, text that can't be read.
  bool ignored = false;
  /// x and y of each corner, in pixels; 4 corners of a box, from the left top one clockwise, or at least 3 of a polygon.
  std::vector<float> corners;
};

/// Moves corners, x and y of each, to an image so many times wider and higher.
void ScaleCorners(float wider, float higher, std::vector<float>& corners);

/// Reads a JSON array of objects, or an object that has it as `annotations`. Each has `bbox: [left, top, width, height]` with `category_id`
/// and, as in COCO, `iscrowd`; or `points: [[x, y], ...]` with, as in PaddleOCR, `transcription`, which is `###` or `*` for text that can't
/// be read. Other keys are not read. INVALID_ARGUMENT tells the index of the object that is wrong.
absl::StatusOr<std::vector<Region>> ParseRegions(absl::string_view json);

}  // namespace pactory::quant
