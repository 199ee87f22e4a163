#include "quant/evaluation/detected_boxes.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "quant/evaluation/average_precision.h"

namespace pactory::quant {
namespace {

using v1::BoxConfig;

bool IsHigher(const ScoredRegion& a, const ScoredRegion& b) { return a.score > b.score; }

bool IsFiniteBox(const ScoredRegion& box) {
  return std::isfinite(box.score) && std::all_of(box.corners.begin(), box.corners.end(), [](float value) { return std::isfinite(value); });
}

std::vector<float> CornersAbout(const float* box) {
  return {box[0] - box[2] / 2, box[1] - box[3] / 2, box[0] + box[2] / 2, box[1] + box[3] / 2};
}

// Rows of left, top, right, bottom, score, class.
std::vector<ScoredRegion> CornerRows(const at::Tensor& rows, double min_score) {
  std::vector<ScoredRegion> boxes;
  const float* row = rows.const_data_ptr<float>();
  for (int64_t i = 0; i < rows.size(0); ++i, row += rows.size(1)) {
    if (!(row[4] >= min_score) || !std::isfinite(row[5])) continue;
    const int64_t category = std::llround(std::clamp(row[5], -1.0f, 1e6f));
    // Detectors fill up with class -1.
    if (category < 0) continue;
    ScoredRegion box{.score = row[4], .category = category, .corners = {row[0], row[1], row[2], row[3]}};
    if (IsFiniteBox(box)) boxes.push_back(std::move(box));
  }
  return boxes;
}

// Rows of centre, size, objectness where the layout has it, and a probability for each class.
std::map<int64_t, std::vector<ScoredRegion>> CenterRows(const at::Tensor& rows, bool has_objectness, double min_score) {
  std::map<int64_t, std::vector<ScoredRegion>> by_class;
  const int64_t head = has_objectness ? 5 : 4;
  const float* row = rows.const_data_ptr<float>();
  for (int64_t i = 0; i < rows.size(0); ++i, row += rows.size(1)) {
    const float objectness = has_objectness ? row[4] : 1;
    for (int64_t category = 0; category < rows.size(1) - head; ++category) {
      const float score = objectness * row[head + category];
      if (!(score >= min_score)) continue;
      ScoredRegion box{.score = score, .category = category, .corners = CornersAbout(row)};
      if (IsFiniteBox(box)) by_class[category].push_back(std::move(box));
    }
  }
  return by_class;
}

std::vector<ScoredRegion> Suppressed(std::vector<ScoredRegion> candidates, double nms_iou) {
  std::stable_sort(candidates.begin(), candidates.end(), IsHigher);
  if (candidates.size() > kMaxCandidates) candidates.resize(kMaxCandidates);
  std::vector<ScoredRegion> kept;
  for (ScoredRegion& candidate : candidates) {
    const bool covered = std::any_of(kept.begin(), kept.end(), [&](const ScoredRegion& other) {
      return BoxIou(candidate.corners, other.corners) > nms_iou;
    });
    if (!covered) kept.push_back(std::move(candidate));
  }
  return kept;
}

absl::Status CheckForm(const at::Tensor& outputs, BoxConfig::Layout layout) {
  const int64_t axis = layout == BoxConfig::CENTER_CLASSES_FIRST ? 1 : 2;
  const bool corners = layout == BoxConfig::CORNERS_SCORE_CLASS;
  const int64_t least = corners ? 6 : layout == BoxConfig::CENTER_OBJECTNESS_CLASSES ? 6 : 5;
  if (outputs.dim() == 3 && (corners ? outputs.size(axis) == least : outputs.size(axis) >= least)) return absl::OkStatus();
  std::ostringstream shape;
  shape << outputs.sizes();
  return absl::InvalidArgumentError(absl::StrCat("COCO_MAP needs a model whose first output has the form of "
                                                 "evaluation.boxes.layout: layout=",
                                                 BoxConfig::Layout_Name(layout), " output=", shape.str()));
}

}  // namespace

absl::StatusOr<std::vector<std::vector<ScoredRegion>>> FindBoxes(const at::Tensor& outputs, const BoxConfig& config) {
  const BoxConfig::Layout layout = config.layout();
  if (const absl::Status form = CheckForm(outputs, layout); !form.ok()) return form;
  const at::Tensor rows = (layout == BoxConfig::CENTER_CLASSES_FIRST ? outputs.transpose(1, 2) : outputs).contiguous();
  std::vector<std::vector<ScoredRegion>> samples;
  for (int64_t sample = 0; sample < rows.size(0); ++sample) {
    std::vector<ScoredRegion>& boxes = samples.emplace_back();
    if (layout == BoxConfig::CORNERS_SCORE_CLASS) {
      boxes = CornerRows(rows[sample], config.min_score());
    } else {
      const bool has_objectness = layout == BoxConfig::CENTER_OBJECTNESS_CLASSES;
      for (auto& [category, candidates] : CenterRows(rows[sample], has_objectness, config.min_score())) {
        std::vector<ScoredRegion> kept = Suppressed(std::move(candidates), config.nms_iou());
        boxes.insert(boxes.end(), kept.begin(), kept.end());
      }
    }
    std::stable_sort(boxes.begin(), boxes.end(), IsHigher);
    if (boxes.size() > static_cast<size_t>(config.max_boxes())) boxes.resize(static_cast<size_t>(config.max_boxes()));
  }
  return samples;
}

}  // namespace pactory::quant
