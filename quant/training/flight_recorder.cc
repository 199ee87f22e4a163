#include "quant/training/flight_recorder.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cmath>

#include "quant/quantizers/clipped.h"

namespace pactory::quant {
namespace {

double SquaredNorm(const at::Tensor& parameter) {
  const at::Tensor& gradient = parameter.grad();
  return gradient.defined() ? gradient.to(at::kDouble).square().sum().item<double>() : 0;
}

}  // namespace

void FlightRecorder::Start() {
  counts_.clear();
  model_.Observe([this](const Quantizer& quantizer, const at::Tensor& x) {
    c10::NoGradGuard no_grad;
    Counts& counts = counts_[&quantizer];
    const at::Tensor values = x.detach();
    counts.scale = quantizer.Scales(values).max().item<double>();
    counts.clipped += CountClipped(quantizer, values);
    counts.total += values.numel();
    if (quantizer.spec().target != QuantizerTarget::kWeight || !x.requires_grad()) return;
    // A weight may be computed from what is trained.
    x.retain_grad();
    counts.weight = x;
  });
}

QuantizerRecord FlightRecorder::Finish(int64_t step) {
  QuantizerRecord record{.step = step};
  for (const auto& quantizer : model_.quantizers()) {
    const Counts& counts = counts_[quantizer.get()];
    double squared = 0;
    for (const LearnedValue& value : quantizer->learned()) squared += SquaredNorm(*value.tensor);
    if (counts.weight.defined()) squared += SquaredNorm(counts.weight);
    record.scales.push_back(counts.scale);
    record.clipped_shares.push_back(counts.total == 0 ? 0 : static_cast<double>(counts.clipped) / static_cast<double>(counts.total));
    record.gradient_norms.push_back(std::sqrt(squared));
  }
  counts_.clear();
  return record;
}

}  // namespace pactory::quant
