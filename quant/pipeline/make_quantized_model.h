// From the plan and the measured ranges to a model that is ready to be evaluated or trained. Used by the pipeline's stages. Stateless.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "pactory/v1/quantization.pb.h"
#include "quant/pipeline/pipeline_state.h"
#include "quant/quantizers/quantized_model.h"

namespace pactory::quant {

/// Makes the quantizers of `config`, which may differ from the job's, and applies what it asks for of the post-training methods:
/// learned rounding, then bias correction. The model lies on the job's device. Each method is a stage of its own.
absl::StatusOr<std::unique_ptr<QuantizedModel>> MakeQuantizedModel(PipelineState& state, const v1::QuantizationConfig& config);

}  // namespace pactory::quant
