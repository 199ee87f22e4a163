#include "quant/quantizers/registry.h"
#include "quant/quantizers/weight_abs_max.h"

namespace pactory::quant {
namespace {

const QuantizerRegistration kChannelAbsMax({
    .method = v1::CHANNEL_ABS_MAX,
    .doc = "Weights: max|w| per output channel.",
    .targets = {QuantizerTarget::kWeight},
    .parameters = {{"weights.bits", 8, 2, 8, "Bits; 8 at REDUCED range means 127 levels, [-63, 63]."}},
    .make = [](const QuantizerSpec& spec) { return std::make_unique<WeightAbsMax>(spec); },
});

}  // namespace
}  // namespace pactory::quant
