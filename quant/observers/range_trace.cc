#include "quant/observers/range_trace.h"

#include <ATen/ATen.h>

namespace pactory::quant {
namespace {

constexpr double kStableShare = 0.99;

}  // namespace

void RangeTrace::Observe(const at::Tensor& x, absl::Span<const int64_t> samples) {
  ++batches_;
  if (x.numel() == 0) return;
  const int64_t count = static_cast<int64_t>(samples.size());
  const bool by_sample = x.dim() > 0 && count > 0 && x.size(0) % count == 0;
  const auto [values, positions] = x.detach().abs().reshape({by_sample ? count : 1, -1}).amax({1}).max(0);
  const double largest = values.item<double>();
  // False for NaN too.
  if (!(largest > (growths_.empty() ? 0 : growths_.back().abs_max))) return;
  growths_.push_back({batches_, largest});
  largest_sample_ = by_sample ? std::optional(samples[static_cast<size_t>(positions.item<int64_t>())]) : std::nullopt;
}

int64_t RangeTrace::BatchesUntilStable() const {
  for (const Growth& growth : growths_) {
    if (growth.abs_max >= kStableShare * growths_.back().abs_max) return growth.batch;
  }
  return 0;
}

}  // namespace pactory::quant
