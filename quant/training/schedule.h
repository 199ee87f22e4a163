// The learning rate over the steps of training. Stateless.
#pragma once

#include <cstdint>

#include "pactory/v1/quantization.pb.h"

namespace pactory::quant {

/// Returns the learning rate of a step (from 0): a linear warm-up to `learning_rate`, then COSINE (half a cosine to 0 at
/// `steps`), STEP (times `schedule_factor` every `schedule_every` steps) or CONSTANT.
double LearningRate(const v1::TrainingConfig& config, int64_t step);

}  // namespace pactory::quant
