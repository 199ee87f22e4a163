#include "quant/quantizers/learned_clip.h"
#include "quant/quantizers/registry.h"

namespace pactory::quant {
namespace {

// PaddleSlim's form, which fits any activation function:
//   y = clip(x, -alpha, alpha); y_q = round(y / s) * s with s = alpha / (2^(b-1) - 1)
//   dy_q/dalpha = 1 for x >= alpha, -1 for x < -alpha, else 0; dy_q/dx = 1 for -alpha <= x < alpha, else 0
// A tensor that can't be negative uses all 2^b - 1 steps above zero.
const QuantizerRegistration kPactTwoSided({
    .method = v1::PACT_TWO_SIDED,
    .doc = "clip(x, -alpha, alpha) with a learned alpha, in front of the quantizer; any activation function.",
    .targets = {QuantizerTarget::kActivation},
    .learns_range = true,
    .make =
        [](const QuantizerSpec& spec) {
          return std::make_unique<LearnedClip>(spec, ActivationGrid(spec.bits, spec.signedness), RangeGradient::kClip);
        },
});

}  // namespace
}  // namespace pactory::quant
