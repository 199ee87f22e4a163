// Rules that choose a clipping threshold from a histogram of |x|. Used by calibration. Stateless.
#pragma once

#include <cstdint>

#include "pactory/v1/quantization.pb.h"
#include "quant/observers/histogram.h"

namespace pactory::quant {

/// Returns max|x|.
double AbsMaxThreshold(const AbsHistogram& histogram);

/// Returns the least threshold that keeps `percentile` percent of |x|, to one bin; at most max|x|.
double PercentileThreshold(const AbsHistogram& histogram, double percentile);

/// Returns the threshold with the least mean squared error of clamp(round(x / s)) * s with s = threshold / steps.
double MseThreshold(const AbsHistogram& histogram, int64_t steps);

/// Returns the threshold t with the least Kullback-Leibler divergence between the histogram clipped at t (what lies beyond
/// counts into its last bin) and the same on `steps` + 1 levels: TensorRT's entropy calibration (Migacz 2017).
double EntropyThreshold(const AbsHistogram& histogram, int64_t steps);

/// Returns the threshold of the configured rule (for OUTPUT_ERROR, which needs a model, that of MAX); 0 where nothing but zeros was seen. `steps`: the grid's largest integer.
double ChooseThreshold(const v1::CalibrationConfig& config, const AbsHistogram& histogram, int64_t steps);

}  // namespace pactory::quant
