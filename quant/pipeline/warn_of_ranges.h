// Looks for quantizers that training or calibration left in a state that their owner should know of. Used by the pipeline.
// Stateless.
#pragma once

#include <string>
#include <vector>

#include "pactory/v1/quantization.pb.h"
#include "quant/report/report.h"

namespace pactory::quant {

/// Returns a sentence for learned ranges that never moved from where they started although they were trained, and one for activations
/// that clip more than `training.warn_clipped_share`; each names at most a few of them.
std::vector<std::string> WarnOfRanges(const std::vector<QuantizerReport>& quantizers, const v1::QuantizationConfig& config);

}  // namespace pactory::quant
