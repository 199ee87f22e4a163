#include "quant/quantizers/learned_clip.h"
#include "quant/quantizers/registry.h"

namespace pactory::quant {
namespace {

// Choi et al. 2018, PACT: Parameterized Clipping Activation, equations 1 to 3:
//   y = clip(x, 0, alpha); y_q = round(y * (2^b - 1) / alpha) * alpha / (2^b - 1)
//   dy_q/dalpha = 1 for x >= alpha, else 0; dy_q/dx = 1 for 0 <= x < alpha, else 0
const QuantizerRegistration kPact({
    .method = v1::PACT,
    .doc = "clip(x, 0, alpha) with a learned alpha, on 2^bits - 1 steps: takes the place of ReLU.",
    .targets = {QuantizerTarget::kActivation},
    .learns_range = true,
    .make =
        [](const QuantizerSpec& spec) {
          return std::make_unique<LearnedClip>(spec, ActivationGrid(spec.bits, Signedness::kUnsigned), RangeGradient::kClip);
        },
});

}  // namespace
}  // namespace pactory::quant
