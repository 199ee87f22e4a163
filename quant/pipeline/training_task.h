// What a job's training loop is given: its batches, and what to train on them. Used by the pipeline's stages. Stateless.
#pragma once

#include <vector>

#include "quant/pipeline/pipeline_state.h"
#include "quant/training/distillation.h"
#include "quant/training/loss.h"
#include "quant/training/training_loop.h"

namespace pactory::quant {

/// Returns the batches of the training data in the order that the seed gives, on the job's device, with the teacher's tensors for
/// `targets` where the loss distills. Borrows `state`.
BatchSource MakeTrainingBatches(PipelineState& state, const LossWeights& weights, const std::vector<DistillationTarget>& targets);

/// Returns what the job's config trains of the model that the plan quantizes, BatchNormalization folded.
TrainingTask MakeTrainingTask(const PipelineState& state, const LossWeights& weights);

}  // namespace pactory::quant
