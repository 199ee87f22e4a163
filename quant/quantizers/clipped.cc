#include "quant/quantizers/clipped.h"

#include <ATen/ATen.h>

#include <vector>

namespace pactory::quant {
namespace {

// max|w| / qmax * qmax may fall short of max|w| by a rounding.
constexpr double kRoundingSlack = 1 + 1e-6;

}  // namespace

int64_t CountClipped(const Quantizer& quantizer, const at::Tensor& x) {
  at::Tensor scales = quantizer.Scales(x).to(x.device());
  if (scales.numel() > 1) {
    std::vector<int64_t> shape(static_cast<size_t>(x.dim()), 1);
    shape[static_cast<size_t>(quantizer.spec().channel_axis)] = -1;
    scales = scales.reshape(shape);
  }
  scales = scales * kRoundingSlack;
  const Grid grid = quantizer.grid();
  int64_t clipped = x.gt(scales * static_cast<double>(grid.qmax)).sum().item<int64_t>();
  if (grid.qmin < 0) clipped += x.lt(scales * static_cast<double>(grid.qmin)).sum().item<int64_t>();
  return clipped;
}

}  // namespace pactory::quant
