// Records what every quantizer does in single steps of training: its scale, the share it clips, its gradient. Used by the training
// loop. Not thread-safe.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>

#include "quant/quantizers/quantized_model.h"
#include "quant/training/training_history.h"

namespace pactory::quant {

/// Records of one model.
class FlightRecorder {
 public:
  /// Borrows `model`.
  explicit FlightRecorder(QuantizedModel& model) : model_(model) {}

  /// Listens to the model's next runs. Requires: called before the forward pass.
  void Start();

  /// Returns the step's record. Requires: called between the backward pass and the optimizer's step.
  QuantizerRecord Finish(int64_t step);

  /// Ends listening.
  void Stop() { model_.Observe({}); }

 private:
  struct Counts {
    double scale = 0;
    int64_t clipped = 0;
    int64_t total = 0;
    // Weights: what was quantized, for its gradient.
    at::Tensor weight;
  };

  QuantizedModel& model_;
  std::map<const Quantizer*, Counts> counts_;
};

}  // namespace pactory::quant
