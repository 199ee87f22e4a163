// From a plan and measured ranges to the quantizers of a model. Used by the pipeline. Stateless.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "pactory/v1/quantization.pb.h"
#include "quant/observers/histogram.h"
#include "quant/passes/insert_quantizers.h"
#include "quant/quantizers/quantizer.h"

namespace pactory::quant {

/// Returns the specs of every quantizer of the plan: the config's method, or an override's, on each activation, its starting range from the
/// histogram by the calibration's rule (or alpha.init); for OUTPUT_ERROR from `measured`, by id, and by MAX where it has none. PACT's one-sided form, which has no grid for negative values, gives way
/// to the two-sided one where a tensor may be negative. INTERNAL where a histogram is missing.
absl::StatusOr<std::vector<QuantizerSpec>> ChooseQuantizers(const QuantizationPlan& plan,
                                                            const std::map<std::string, AbsHistogram>& histograms,
                                                            const v1::QuantizationConfig& config,
                                                            const std::map<std::string, double>& measured = {});

/// Returns the config of the PTQ row of the report: ranges are max|x| over the calibration set and max|w|.
v1::QuantizationConfig PtqBaseline(v1::QuantizationConfig config);

/// Returns the config of the plain-QAT row of the report: the same training with a moving average of max|x| instead of alpha, and
/// max|w|.
v1::QuantizationConfig PlainQatBaseline(v1::QuantizationConfig config);

}  // namespace pactory::quant
