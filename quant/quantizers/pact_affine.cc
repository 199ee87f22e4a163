#include "quant/quantizers/learned_bounds.h"
#include "quant/quantizers/learned_clip.h"
#include "quant/quantizers/registry.h"

namespace pactory::quant {
namespace {

// PACT with an end of its own on each side:
//   y = clip(x, low, high) on 2^b - 1 levels; dy/dhigh = 1 for x >= high, dy/dlow = 1 for x < low, else 0
const QuantizerRegistration kPactAffine({
    .method = v1::PACT_AFFINE,
    .doc = "clip(x, low, high) with both ends learned, on an affine grid.",
    .targets = {QuantizerTarget::kActivation},
    .learns_range = true,
    .affine = true,
    .make = [](const QuantizerSpec& spec) { return MakeLearnedBounds(spec, RangeGradient::kClip); },
});

}  // namespace
}  // namespace pactory::quant
