#include "quant/evaluation/region_rows.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"

namespace pactory::quant {
namespace {

constexpr int64_t kHead = 3;
constexpr float kNoRegion = -1;

}  // namespace

at::Tensor RegionRows(const std::vector<std::vector<ScoredRegion>>& samples, int64_t rows, int64_t corners) {
  for (const std::vector<ScoredRegion>& regions : samples) {
    rows = std::max(rows, static_cast<int64_t>(regions.size()));
    for (const ScoredRegion& region : regions) corners = std::max(corners, static_cast<int64_t>(region.corners.size() / 2));
  }
  at::Tensor tensor = at::zeros({static_cast<int64_t>(samples.size()), rows, kHead + 2 * corners}, at::kFloat);
  tensor.select(2, 0).fill_(kNoRegion);
  float* first = tensor.mutable_data_ptr<float>();
  for (size_t sample = 0; sample < samples.size(); ++sample) {
    float* row = first + static_cast<int64_t>(sample) * rows * tensor.size(2);
    for (const ScoredRegion& region : samples[sample]) {
      row[0] = region.score;
      row[1] = static_cast<float>(region.category);
      row[2] = region.ignored ? 1 : 0;
      const size_t last = region.corners.size() - 2;
      for (size_t i = 0; i < static_cast<size_t>(2 * corners); ++i) {
        row[kHead + static_cast<int64_t>(i)] = region.corners[i < region.corners.size() ? i : last + i % 2];
      }
      row += tensor.size(2);
    }
  }
  return tensor;
}

std::vector<ScoredRegion> RegionsOf(const at::Tensor& rows) {
  const at::Tensor values = rows.contiguous();
  const float* row = values.const_data_ptr<float>();
  std::vector<ScoredRegion> regions;
  for (int64_t i = 0; i < values.size(0); ++i, row += values.size(1)) {
    if (row[0] == kNoRegion) continue;
    regions.push_back({.score = row[0],
                       .category = static_cast<int64_t>(row[1]),
                       .ignored = row[2] != 0,
                       .corners = std::vector<float>(row + kHead, row + values.size(1))});
  }
  return regions;
}

absl::StatusOr<at::Tensor> ExpectedRows(const std::vector<std::vector<Region>>& samples, absl::Span<const int64_t> category_ids) {
  std::map<int64_t, int64_t> classes;
  for (size_t i = 0; i < category_ids.size(); ++i) classes.emplace(category_ids[i], static_cast<int64_t>(i));
  std::vector<std::vector<ScoredRegion>> all;
  for (size_t sample = 0; sample < samples.size(); ++sample) {
    std::vector<ScoredRegion>& expected = all.emplace_back();
    for (const Region& region : samples[sample]) {
      const auto known = classes.find(region.category);
      if (!category_ids.empty() && known == classes.end()) {
        return absl::InvalidArgumentError(absl::StrCat("category_id must be one of evaluation.boxes.category_ids: sample index=", sample,
                                                       " category_id=", region.category));
      }
      expected.push_back({.score = 1,
                          .category = category_ids.empty() ? region.category : known->second,
                          .ignored = region.ignored,
                          .corners = region.corners});
    }
  }
  return RegionRows(all);
}

}  // namespace pactory::quant
