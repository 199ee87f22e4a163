// A dataset in memory, for tests.
#pragma once

#include <ATen/ATen.h>

#include <utility>
#include <vector>

#include "quant/data/dataset.h"

namespace pactory::quant {

/// One sample for each row of a tensor, without labels.
class RowsDataset : public Dataset {
 public:
  explicit RowsDataset(at::Tensor rows) : rows_(std::move(rows)) {}
  int64_t size() const override { return rows_.size(0); }
  at::Tensor labels() const override { return {}; }
  absl::StatusOr<Batch> Read(absl::Span<const int64_t> indices) const override {
    const at::Tensor picked = at::tensor(at::ArrayRef<int64_t>(indices.data(), indices.size()), at::kLong);
    return Batch{.inputs = {rows_.index_select(0, picked)}};
  }

 private:
  at::Tensor rows_;
};

}  // namespace pactory::quant
