// Measures how far a model's output moves when some of its quantizers are on and all else is float. Used by the choice of
// thresholds and of precision. Not thread-safe.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "quant/execution/executor.h"
#include "quant/graph/graph.h"
#include "quant/quantizers/quantizer.h"

namespace pactory::quant {

/// A graph whose quantizers are switched on for one measurement each.
class OutputProbe {
 public:
  /// Runs `graph`, which has FakeQuantize nodes, in float on `batches` (at least one, each of all inputs) and keeps its first outputs.
  static absl::StatusOr<std::unique_ptr<OutputProbe>> Create(const Graph& graph, std::vector<std::vector<at::Tensor>> batches,
                                                             at::Device device);

  /// Returns the output error with the quantizers of `specs` on, by their ids; biases stay in float. For a model that ends in a
  /// softmax it is the Kullback-Leibler divergence from the float model's distributions, summed over a sample's positions, in
  /// nats, mean of the samples; else the power of the deviation over that of the float model's output. Infinite where the output
  /// is not finite.
  absl::StatusOr<double> ErrorOf(absl::Span<const QuantizerSpec> specs);

  /// Returns the first outputs with the quantizers of `specs` on, of all batches, on the CPU.
  absl::StatusOr<at::Tensor> OutputsOf(absl::Span<const QuantizerSpec> specs);

  /// The float model's.
  const at::Tensor& float_outputs() const { return float_outputs_; }

 private:
  OutputProbe() = default;

  enum class Head { kProbabilities, kLogProbabilities, kOther };

  std::unique_ptr<Executor> executor_;
  std::vector<std::vector<at::Tensor>> batches_;
  at::Tensor float_outputs_;
  Head head_ = Head::kOther;
  at::Device device_ = at::kCPU;
  // By id; null where the quantizer is off.
  std::map<std::string, Quantizer*> active_;
};

}  // namespace pactory::quant
