// Regions as a tensor, so that what detectors find and what is right go the way of all answers. Used by the metrics of detection.
// Stateless.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "quant/data/region.h"

namespace pactory::quant {

/// What is found, or is right.
struct ScoredRegion {
  /// 1 of what is right.
  float score = 1;
  int64_t category = 0;
  bool ignored = false;
  /// x and y of each corner.
  std::vector<float> corners;
};

/// Returns samples x rows x (3 + 2 * corners), float: score, category, ignored (0 or 1), x and y of each corner, the last one repeated.
/// Rows without a region have the score -1. `rows` and `corners`: at least as many as there are; 0: just as many.
at::Tensor RegionRows(const std::vector<std::vector<ScoredRegion>>& samples, int64_t rows = 0, int64_t corners = 0);

/// Returns one sample's regions from its rows (float, rows x (3 + 2 * corners), on the CPU).
std::vector<ScoredRegion> RegionsOf(const at::Tensor& rows);

/// Returns the rows of what a dataset has. `category_ids`: the category that each of the model's classes stands for; empty: its own
/// number. INVALID_ARGUMENT names a category that no class stands for.
absl::StatusOr<at::Tensor> ExpectedRows(const std::vector<std::vector<Region>>& samples, absl::Span<const int64_t> category_ids);

}  // namespace pactory::quant
