#include "quant/observers/histogram.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace pactory::quant {

void AbsHistogram::GrowTo(double value) {
  if (range_ == 0) {
    // A power of two, so that the bins do not depend on which batch came first.
    range_ = std::exp2(std::ceil(std::log2(std::max(value, 1e-30))));
    bins_[0] += count_;
  }
  while (range_ < value) {
    for (int i = 0; i < kBins / 2; ++i) bins_[i] = bins_[2 * i] + bins_[2 * i + 1];
    std::fill(bins_.begin() + kBins / 2, bins_.end(), 0);
    range_ *= 2;
  }
}

void AbsHistogram::Observe(const at::Tensor& x) {
  const at::Tensor values = x.detach().to(at::kCPU, at::kFloat).contiguous();
  const float* data = values.const_data_ptr<float>();
  const int64_t size = values.numel();
  float largest = 0, low = 0, high = 0;
  int64_t finite = 0;
  for (int64_t i = 0; i < size; ++i) {
    const float magnitude = std::fabs(data[i]);
    // False for NaN too.
    if (!(magnitude <= std::numeric_limits<float>::max())) continue;
    ++finite;
    largest = std::max(largest, magnitude);
    low = std::min(low, data[i]);
    high = std::max(high, data[i]);
  }
  non_finite_ += size - finite;
  min_ = std::min<double>(min_, low);
  max_ = std::max<double>(max_, high);
  abs_max_ = std::max<double>(abs_max_, largest);
  if (range_ == 0 && largest == 0) {
    count_ += finite;
    return;
  }
  GrowTo(largest);
  count_ += finite;
  const double bins_per_unit = kBins / range_;
  for (int64_t i = 0; i < size; ++i) {
    const float magnitude = std::fabs(data[i]);
    if (!(magnitude <= std::numeric_limits<float>::max())) continue;
    ++bins_[std::min<int64_t>(kBins - 1, static_cast<int64_t>(magnitude * bins_per_unit))];
  }
}

}  // namespace pactory::quant
