#include "quant/quantizers/channel_ranges.h"
#include "quant/quantizers/registry.h"

namespace pactory::quant {
namespace {

const QuantizerRegistration kChannelMse({
    .method = v1::CHANNEL_MSE,
    .doc = "Weights: per output channel the range with the least squared error on the grid, found once.",
    .targets = {QuantizerTarget::kWeight},
    .make = [](const QuantizerSpec& spec) { return std::make_unique<ChannelRanges>(spec, RangeLearning::kFixed); },
});

}  // namespace
}  // namespace pactory::quant
