#include "quant/evaluation/output_noise.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace pactory::quant {

void KeptOutputs::Add(const at::Tensor& outputs) {
  if (full_ || outputs.size(0) == 0) return;
  const int64_t sample = std::max<int64_t>(1, outputs.numel() / outputs.size(0) * outputs.element_size());
  const int64_t fit = parts_.empty() ? std::max<int64_t>(1, room_ / sample) : room_ / sample;
  const int64_t count = std::min(outputs.size(0), fit);
  full_ = count < outputs.size(0);
  if (count == 0) return;
  parts_.push_back(outputs.slice(0, 0, count).clone());
  room_ -= count * sample;
}

at::Tensor KeptOutputs::values() const { return parts_.empty() ? at::Tensor() : at::cat(parts_, 0); }

std::optional<double> SqnrDb(const KeptOutputs& exact, const KeptOutputs& other) {
  at::Tensor signal = exact.values(), noisy = other.values();
  if (!signal.defined() || !noisy.defined()) return std::nullopt;
  const int64_t count = std::min(signal.size(0), noisy.size(0));
  signal = signal.slice(0, 0, count).to(at::kDouble);
  noisy = noisy.slice(0, 0, count).to(at::kDouble);
  if (signal.sizes() != noisy.sizes()) return std::nullopt;
  // Infinite values and NaN are no deviation where both have them.
  const at::Tensor same = noisy.eq(signal).logical_or(noisy.isnan().logical_and(signal.isnan()));
  const double power = signal.masked_fill(signal.isfinite().logical_not(), 0).square().sum().item<double>();
  const double noise = (noisy - signal).masked_fill(same, 0).square().sum().item<double>();
  if (noise == 0) return std::nullopt;
  return std::isfinite(noise) ? 10 * std::log10(power / noise) : -std::numeric_limits<double>::infinity();
}

}  // namespace pactory::quant
