#include "quant/quantizers/registry.h"
#include "quant/quantizers/weight_abs_max.h"

namespace pactory::quant {
namespace {

const QuantizerRegistration kChannelAbsMax({
    .method = v1::CHANNEL_ABS_MAX,
    .doc = "Weights: max|w| per output channel.",
    .targets = {QuantizerTarget::kWeight},
    .make = [](const QuantizerSpec& spec) { return std::make_unique<WeightAbsMax>(spec); },
});

}  // namespace
}  // namespace pactory::quant
