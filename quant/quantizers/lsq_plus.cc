#include "quant/quantizers/learned_bounds.h"
#include "quant/quantizers/learned_clip.h"
#include "quant/quantizers/registry.h"

namespace pactory::quant {
namespace {

// Bhalgat et al. 2020, LSQ+, equations 4 to 7, in terms of low = beta and high = beta + (2^b - 1) * s:
//   y = clamp(round((x - beta) / s), 0, 2^b - 1) * s + beta
//   dy/ds = round(v) - v inside, 0 below, 2^b - 1 above; dy/dbeta = 0 inside, 1 outside
// beta is put on the grid, because the exported zero point is an integer; its gradient passes that rounding unchanged.
const QuantizerRegistration kLsqPlus({
    .method = v1::LSQ_PLUS,
    .doc = "Learned step size and offset on an affine grid: for activations that reach further to one side, like HardSwish.",
    .targets = {QuantizerTarget::kActivation},
    .learns_range = true,
    .affine = true,
    .make = [](const QuantizerSpec& spec) { return MakeLearnedBounds(spec, RangeGradient::kClipAndRounding); },
});

}  // namespace
}  // namespace pactory::quant
