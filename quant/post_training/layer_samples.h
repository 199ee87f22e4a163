// What one layer is reconstructed from: its inputs in the quantized model and its outputs in the uploaded one, in bounded memory.
// Used by learn_rounding. Not thread-safe.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "quant/execution/executor.h"
#include "quant/post_training/calibration_samples.h"
#include "quant/quantizers/quantized_model.h"

namespace pactory::quant {

/// One layer by itself, with the activation function that alone reads it, where it is one that the reconstruction sees through.
struct IsolatedLayer {
  /// Inputs: the layer's input and its weight.
  std::unique_ptr<Executor> executor;
  /// Values of the graphs: what the layer reads, and what it (or its activation function) writes.
  std::string input;
  std::string output;
  /// Axis of the output's channels.
  int64_t channel_axis = 1;
};

/// Cuts a layer out of the model's graph, its bias as the model has it now. INTERNAL where the node is not in the graph.
absl::StatusOr<IsolatedLayer> IsolateLayer(QuantizedModel& model, const std::string& node);

/// Pairs of what a layer reads and what it should write.
struct LayerSamples {
  at::Tensor inputs;
  at::Tensor targets;
};

/// Collects pairs from as many samples as fit `max_bytes`, at least one batch: inputs from `quantized`, targets from `fp32`.
absl::StatusOr<LayerSamples> CollectLayerSamples(const IsolatedLayer& layer, Executor& quantized, Executor& fp32,
                                                 const CalibrationSamples& samples, int64_t max_bytes);

}  // namespace pactory::quant
