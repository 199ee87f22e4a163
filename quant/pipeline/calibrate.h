// Measures the activations that are to be quantized. Used by the pipeline. Stateless.
#pragma once

#include <c10/core/Device.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "quant/data/dataset.h"
#include "quant/graph/graph.h"
#include "quant/observers/histogram.h"
#include "quant/observers/range_trace.h"

namespace pactory::quant {

/// What to measure on.
struct CalibrationOptions {
  int64_t samples = 512;
  int64_t batch_size = 32;
  /// Decides which samples are drawn.
  int64_t seed = 1;
  at::Device device = at::kCPU;
  /// Called with the share done; a status that is not OK ends the calibration with it. May be null.
  std::function<absl::Status(double share)> on_batch;
};

/// Returns the order in which samples are drawn for calibration.
std::vector<int64_t> CalibrationOrder(const Dataset& dataset, int64_t seed);

/// What was measured, by the quantizer ids of the activations. Its memory does not grow with the samples.
struct Calibration {
  /// Of |x|.
  std::map<std::string, AbsHistogram> histograms;
  std::map<std::string, RangeTrace> traces;
};

/// Runs a graph with FakeQuantize nodes in float over samples of `dataset`. INVALID_ARGUMENT names a value that is not finite.
absl::StatusOr<Calibration> Calibrate(const Graph& graph, const Dataset& dataset, const CalibrationOptions& options);

}  // namespace pactory::quant
