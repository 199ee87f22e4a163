// When training ends before its last step: what a job's owner, its deadline and its contract say. Used by the pipeline's stages. Stateless.
#pragma once

#include <string>

#include "absl/time/time.h"
#include "quant/pipeline/pipeline_state.h"

namespace pactory::quant {

/// Returns when training has to end for the job to keep its deadline: as long before it as twice the stages so far took, training
/// apart, and 5 s; what follows training is like what comes before it: the evaluation of a model, and runs of a file in its runtime.
absl::Time LastTrainingTime(const PipelineState& state);

/// Returns why no training, and no further rung of a contract, may be begun or go on; "" where one may.
std::string TrainingEndReason(const PipelineState& state, absl::Time last_time);

}  // namespace pactory::quant
