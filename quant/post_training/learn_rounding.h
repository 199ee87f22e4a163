// AdaRound (Nagel et al. 2020, Up or Down? Adaptive Rounding for Post-Training Quantization): which weights are rounded up and which
// down is learned, layer by layer, so that the layer's output stays what it was. Used by the pipeline. Stateless.
#pragma once

#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "pactory/v1/quantization.pb.h"
#include "quant/execution/executor.h"
#include "quant/passes/insert_quantizers.h"
#include "quant/post_training/calibration_samples.h"
#include "quant/quantizers/quantized_model.h"

namespace pactory::quant {

/// Replaces the weights of each quantized layer, first to last, by values of their grid. A layer's samples are its inputs in the
/// quantized model, whose layers before it are rounded already, and its outputs in `fp32` (equation 25, with the Relu, LeakyRelu
/// or HardSwish behind it). It minimizes
///   mean over samples and positions of sum over channels of (y - y_q)^2, over the mean of y^2,
///   + regularization * sum(1 - |2 h(V) - 1|^beta), W_q = s * clamp(floor(W / s) + h(V)), h the rectified sigmoid (equations 21 to 24)
/// by Adam, beta falling from 20 to 2 along a cosine after a fifth of the steps without the regularization. A layer whose outputs
/// nearest rounding keeps better is rounded to nearest. The samples of a layer take at most 256 MiB.
///
/// Requires: the scales of the weights' quantizers do not follow the weights (CHANNEL_MSE). `seed` decides the order of the samples;
/// `on_progress` gets the share done, and a status that is not OK ends the learning with it.
absl::Status LearnRounding(QuantizedModel& model, Executor& fp32, const QuantizationPlan& plan, const CalibrationSamples& samples,
                           const v1::AdaRoundConfig& config, uint64_t seed,
                           const std::function<absl::Status(double share)>& on_progress);

}  // namespace pactory::quant
