// The clipping threshold of each activation by what it does to the model's output: the rule OUTPUT_ERROR. Used by the pipeline.
// Stateless.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "pactory/v1/quantization.pb.h"
#include "quant/observers/histogram.h"
#include "quant/passes/insert_quantizers.h"
#include "quant/pipeline/output_probe.h"

namespace pactory::quant {

/// Returns for each activation of `plan`, by id, the candidate threshold (MAX, the percentiles 99.999 and 99.99, MSE, ENTROPY) with
/// the least output error when this activation alone is quantized. Candidates are tried from the largest down until the
/// error grows: about two runs of the probe for each activation, five at most. `on_share` hears how much is done; a status
/// that is not OK ends the search with it.
absl::StatusOr<std::map<std::string, double>> ChooseThresholdsByOutput(
    OutputProbe& probe, const QuantizationPlan& plan, const std::map<std::string, AbsHistogram>& histograms,
    const v1::QuantizationConfig& config, const std::function<absl::Status(double share)>& on_share);

}  // namespace pactory::quant
