#include "quant/evaluation/average_precision.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <numeric>

#include "quant/evaluation/region_rows.h"

namespace pactory::quant {
namespace {

constexpr size_t kThresholds = 10;
constexpr size_t kRecalls = 101;
constexpr size_t kMaxBoxesOfClass = 100;

// A value of numpy.linspace, to the last bit: shares of small numbers fall right on some of them, and pycocotools has it so.
double Linspace(double first, double last, size_t count, size_t index) {
  if (index + 1 == count) return last;
  return static_cast<double>(index) * ((last - first) / static_cast<double>(count - 1)) + first;
}

double ThresholdAt(size_t index) { return Linspace(0.5, 0.95, kThresholds, index); }

struct BoxBounds {
  double left, top, right, bottom;

  double area() const { return (right - left) * (bottom - top); }
};

BoxBounds BoxBoundsOf(const std::vector<float>& corners) {
  BoxBounds bounds{corners[0], corners[1], corners[0], corners[1]};
  for (size_t i = 0; i + 1 < corners.size(); i += 2) {
    bounds.left = std::min<double>(bounds.left, corners[i]);
    bounds.right = std::max<double>(bounds.right, corners[i]);
    bounds.top = std::min<double>(bounds.top, corners[i + 1]);
    bounds.bottom = std::max<double>(bounds.bottom, corners[i + 1]);
  }
  return bounds;
}

// Of the second box's union with the first, or of the first alone where the second is a crowd.
double ShareInCommon(const BoxBounds& first, const BoxBounds& second, bool second_is_crowd) {
  const double width = std::min(first.right, second.right) - std::max(first.left, second.left);
  const double height = std::min(first.bottom, second.bottom) - std::max(first.top, second.top);
  if (width <= 0 || height <= 0) return 0;
  const double both = width * height;
  return both / (second_is_crowd ? first.area() : first.area() + second.area() - both);
}

// The boxes of one class in one sample.
struct ClassBoxes {
  std::vector<ScoredRegion> found, expected;
};

// What became of a found box at each threshold: ignored where an ignored box matched.
struct Verdict {
  float score = 0;
  std::array<bool, kThresholds> matched{}, ignored{};
};

// The verdicts of one sample and class at one threshold. Expected boxes: ignored ones last.
void MatchAt(size_t threshold, const std::vector<std::vector<double>>& shares, const std::vector<ScoredRegion>& expected,
             std::vector<Verdict>& verdicts) {
  std::vector<bool> taken(expected.size());
  for (size_t i = 0; i < verdicts.size(); ++i) {
    double best = std::min(ThresholdAt(threshold), 1 - 1e-10);
    size_t match = expected.size();
    for (size_t j = 0; j < expected.size(); ++j) {
      // Many can match a crowd.
      if (taken[j] && !expected[j].ignored) continue;
      // A box that counts is better than any that does not.
      if (match < expected.size() && !expected[match].ignored && expected[j].ignored) break;
      if (shares[i][j] < best) continue;
      best = shares[i][j];
      match = j;
    }
    if (match == expected.size()) continue;
    taken[match] = true;
    verdicts[i].matched[threshold] = true;
    verdicts[i].ignored[threshold] = expected[match].ignored;
  }
}

std::vector<Verdict> JudgeBoxes(ClassBoxes boxes) {
  std::stable_sort(boxes.found.begin(), boxes.found.end(), [](const auto& a, const auto& b) { return a.score > b.score; });
  if (boxes.found.size() > kMaxBoxesOfClass) boxes.found.resize(kMaxBoxesOfClass);
  std::stable_partition(boxes.expected.begin(), boxes.expected.end(), [](const auto& region) { return !region.ignored; });
  std::vector<Verdict> verdicts;
  std::vector<std::vector<double>> shares;
  for (const ScoredRegion& box : boxes.found) {
    verdicts.push_back({.score = box.score});
    std::vector<double>& row = shares.emplace_back();
    for (const ScoredRegion& other : boxes.expected) {
      row.push_back(ShareInCommon(BoxBoundsOf(box.corners), BoxBoundsOf(other.corners), other.ignored));
    }
  }
  for (size_t threshold = 0; threshold < kThresholds; ++threshold) MatchAt(threshold, shares, boxes.expected, verdicts);
  return verdicts;
}

// The area under one class' curve of precision over recall; `verdicts` from the highest score down.
double PrecisionAt(size_t threshold, const std::vector<Verdict>& verdicts, int64_t expected) {
  std::vector<double> recalls, precisions;
  int64_t right = 0, wrong = 0;
  for (const Verdict& verdict : verdicts) {
    if (!verdict.ignored[threshold]) ++(verdict.matched[threshold] ? right : wrong);
    recalls.push_back(static_cast<double>(right) / static_cast<double>(expected));
    precisions.push_back(static_cast<double>(right) / (static_cast<double>(right + wrong) + std::numeric_limits<double>::epsilon()));
  }
  for (size_t i = precisions.size(); i > 1; --i) precisions[i - 2] = std::max(precisions[i - 2], precisions[i - 1]);
  double sum = 0;
  for (size_t step = 0; step < kRecalls; ++step) {
    const auto first = std::lower_bound(recalls.begin(), recalls.end(), Linspace(0, 1, kRecalls, step));
    if (first != recalls.end()) sum += precisions[static_cast<size_t>(first - recalls.begin())];
  }
  return sum / static_cast<double>(kRecalls);
}

}  // namespace

double BoxIou(const std::vector<float>& first, const std::vector<float>& second) {
  return ShareInCommon(BoxBoundsOf(first), BoxBoundsOf(second), /*second_is_crowd=*/false);
}

AveragePrecision MeanAveragePrecision(const at::Tensor& found, const at::Tensor& expected) {
  std::map<int64_t, std::vector<Verdict>> verdicts;
  std::map<int64_t, int64_t> counts;
  for (int64_t sample = 0; sample < found.size(0); ++sample) {
    std::map<int64_t, ClassBoxes> classes;
    for (ScoredRegion& box : RegionsOf(found[sample])) classes[box.category].found.push_back(std::move(box));
    for (ScoredRegion& box : RegionsOf(expected[sample])) {
      counts[box.category] += box.ignored ? 0 : 1;
      classes[box.category].expected.push_back(std::move(box));
    }
    for (auto& [category, boxes] : classes) {
      const std::vector<Verdict> judged = JudgeBoxes(std::move(boxes));
      verdicts[category].insert(verdicts[category].end(), judged.begin(), judged.end());
    }
  }
  std::array<double, kThresholds> sums{};
  int64_t classes = 0;
  for (const auto& [category, count] : counts) {
    if (count == 0) continue;
    ++classes;
    std::vector<Verdict>& judged = verdicts[category];
    std::stable_sort(judged.begin(), judged.end(), [](const Verdict& a, const Verdict& b) { return a.score > b.score; });
    for (size_t threshold = 0; threshold < kThresholds; ++threshold) sums[threshold] += PrecisionAt(threshold, judged, count);
  }
  if (classes == 0) return {};
  const double share = 1 / static_cast<double>(classes);
  return {.mean = std::accumulate(sums.begin(), sums.end(), 0.0) / kThresholds * share, .at50 = sums[0] * share, .at75 = sums[5] * share};
}

Accuracy CommonBoxes(const at::Tensor& first, const at::Tensor& second, double least_score) {
  constexpr double kLeastIou = 0.5;
  Accuracy common{.right = 0, .total = 0, .unit = Accuracy::Unit::kRegions};
  for (int64_t sample = 0; sample < first.size(0); ++sample) {
    std::vector<ScoredRegion> boxes = RegionsOf(first[sample]), others = RegionsOf(second[sample]);
    for (std::vector<ScoredRegion>* set : {&boxes, &others}) {
      std::erase_if(*set, [&](const ScoredRegion& box) { return box.score < least_score; });
      common.total += static_cast<int64_t>(set->size());
    }
    std::vector<bool> taken(others.size());
    for (const ScoredRegion& box : boxes) {
      size_t best = others.size();
      double overlap = kLeastIou;
      for (size_t i = 0; i < others.size(); ++i) {
        const double iou = taken[i] || others[i].category != box.category ? 0 : BoxIou(box.corners, others[i].corners);
        if (iou <= overlap) continue;
        best = i;
        overlap = iou;
      }
      if (best == others.size()) continue;
      taken[best] = true;
      common.right += 2;
    }
  }
  if (common.total == 0) common.right = common.total = 1;
  return common;
}

}  // namespace pactory::quant
