// How much of a tensor a quantizer cuts off. Used by training and the report. Stateless.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "quant/quantizers/quantizer.h"

namespace pactory::quant {

/// Returns how many values of `x` (for a weight quantizer: the weight) lie beyond the largest or the least value of the grid.
int64_t CountClipped(const Quantizer& quantizer, const at::Tensor& x);

}  // namespace pactory::quant
