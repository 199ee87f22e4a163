// A graph with FakeQuantize nodes and its quantizers, ready to run, train and export. Used by training, evaluation and
// exporting. Not thread-safe.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "quant/execution/executor.h"
#include "quant/graph/graph.h"
#include "quant/quantizers/quantizer.h"

namespace pactory::quant {

/// A graph bound to quantizers.
class QuantizedModel {
 public:
  /// Makes the quantizers of `specs` and binds each FakeQuantize node to the one it names. The parameters are copies: two
  /// models of one graph do not share weights. `other_kernels` binds nodes of domain "pactory" that are no quantizers. INTERNAL
  /// where a node names a quantizer that has no spec.
  static absl::StatusOr<std::unique_ptr<QuantizedModel>> Create(const Graph& graph, const std::vector<QuantizerSpec>& specs,
                                                                const KernelFactory& other_kernels = {});

  /// The graph with its FakeQuantize nodes. Its initializers are those it was made of; the trained ones are `parameters()`.
  const Graph& graph() const { return graph_; }
  Executor& executor() { return *executor_; }
  std::map<std::string, at::Tensor>& parameters() { return executor_->parameters(); }

  /// The quantizers in the order of their specs.
  const std::vector<std::unique_ptr<Quantizer>>& quantizers() const { return quantizers_; }
  /// Returns a quantizer by id, or null.
  Quantizer* Find(absl::string_view id) const;

  /// Called with each quantizer and what it is about to quantize, in every run; empty ends it.
  using Observer = std::function<void(const Quantizer&, const at::Tensor&)>;
  void Observe(Observer observer) { observer_ = std::move(observer); }

  /// Sets the mode of every quantizer.
  void SetMode(QuantizerMode mode);
  /// Moves parameters and quantizers to a device.
  void To(at::Device device);

 private:
  QuantizedModel() = default;

  Graph graph_;
  std::vector<std::unique_ptr<Quantizer>> quantizers_;
  std::map<std::string, Quantizer*> by_id_;
  std::unique_ptr<Executor> executor_;
  Observer observer_;
};

}  // namespace pactory::quant
