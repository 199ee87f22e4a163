#include "quant/quantizers/channel_ranges.h"
#include "quant/quantizers/registry.h"

namespace pactory::quant {
namespace {

const QuantizerRegistration kChannelLsq({
    .method = v1::CHANNEL_LSQ,
    .doc = "Weights: LSQ with a learned step for each output channel.",
    .targets = {QuantizerTarget::kWeight},
    .make = [](const QuantizerSpec& spec) { return std::make_unique<ChannelRanges>(spec, RangeLearning::kLearned); },
});

}  // namespace
}  // namespace pactory::quant
