// Which layers keep more bits or stay in float: `mixed_precision`. Used by CalibrateRanges. Not thread-safe.
#pragma once

#include "absl/status/status.h"
#include "quant/pipeline/pipeline_state.h"

namespace pactory::quant {

/// Adds an override to the config for each layer that keeps more bits: by error per byte as many as `max_size_ratio` leaves room for; by
/// error as few as reach `min_agreement` on the calibration samples, where a layer's activations and its weights are two choices; with both
/// targets the first with float weights, and as few others as needed with float activations. Needs plan, ranges and sensitivity.
/// INVALID_ARGUMENT with reason BAD_CONFIG where the file is too large without any; a warning of the report where all are not enough to
/// agree.
absl::Status ChoosePrecision(PipelineState& state);

}  // namespace pactory::quant
