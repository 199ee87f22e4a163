// Empirical bias correction: quantization must not shift the mean of a layer's output (Nagel et al. 2019, section 4.2; Banner et
// al. 2019). Used by the pipeline. Stateless.
#pragma once

#include <functional>

#include "absl/status/status.h"
#include "quant/execution/executor.h"
#include "quant/passes/insert_quantizers.h"
#include "quant/post_training/calibration_samples.h"
#include "quant/quantizers/quantized_model.h"

namespace pactory::quant {

/// Adds to the bias of each quantized layer, first to last, what its output lacks in the mean against `fp32`, by output channel over
/// all samples and positions; the layers before it are corrected already. Layers without a bias of their own (OwnBiases) stay as
/// they are. `on_layer` gets the share done; a status that is not OK ends the correction with it. May be null.
absl::Status CorrectBiases(QuantizedModel& model, Executor& fp32, const QuantizationPlan& plan, const CalibrationSamples& samples,
                           const std::function<absl::Status(double share)>& on_layer);

}  // namespace pactory::quant
