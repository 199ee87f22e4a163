#include "quant/quantizers/channel_ranges.h"
#include "quant/quantizers/learned_clip.h"
#include "quant/quantizers/registry.h"

namespace pactory::quant {
namespace {

// Esser et al. 2020, Learned Step Size Quantization, equations 1 to 3, in terms of alpha = s * qmax:
//   y = clamp(round(x / s), qmin, qmax) * s
//   dy/ds = round(x / s) - x / s inside, qmin below, qmax above
// The paper scales this gradient by 1 / sqrt(N * qmax), and so do weights. For activations alpha's learning rate is in units of
// its start instead, which has the same purpose and does not depend on the size of the tensor.
const QuantizerRegistration kLsq({
    .method = v1::LSQ,
    .doc = "Learned step size: the range moves with what is clipped and with the rounding of all else.",
    .targets = {QuantizerTarget::kWeight, QuantizerTarget::kActivation},
    .learns_range = true,
    .make =
        [](const QuantizerSpec& spec) -> std::unique_ptr<Quantizer> {
          if (spec.target == QuantizerTarget::kWeight) return std::make_unique<ChannelRanges>(spec, RangeLearning::kLearned);
          return std::make_unique<LearnedClip>(spec, ActivationGrid(spec.bits, spec.signedness),
                                               RangeGradient::kClipAndRounding);
        },
});

}  // namespace
}  // namespace pactory::quant
