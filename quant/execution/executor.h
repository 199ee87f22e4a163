// Runs a graph on LibTorch with autograd. The plan (kernels, value slots, last uses) is made once. Not thread-safe.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "quant/execution/find_chains.h"
#include "quant/graph/graph.h"
#include "quant/ops/registry.h"

namespace pactory::quant {

/// Makes kernels of nodes in the domain "pactory", which the op table does not know (fake quantization).
using KernelFactory = std::function<absl::StatusOr<Kernel>(const Node&)>;

/// Returns the nodes, those of subgraphs too, whose op the table lacks; nodes of the domain "pactory" are not looked up.
std::vector<const Node*> UnsupportedNodes(const Graph& graph);

/// A graph made ready to run.
class Executor {
 public:
  /// Plans `graph`, which is copied as far as needed. UNIMPLEMENTED lists every node whose op is unknown, by name, op,
  /// domain and opset. Elementwise nodes that follow each other run as one where nobody asks for what is between them; `stages`
  /// makes those of the domain "pactory" take part.
  static absl::StatusOr<std::unique_ptr<Executor>> Create(const Graph& graph, const KernelFactory& factory = nullptr,
                                                          const StageFactory& stages = nullptr);
  ~Executor();

  /// Runs the graph. `inputs` in the order of the graph's inputs. INVALID_ARGUMENT names the node in whose kernel
  /// LibTorch threw. Records autograd where grad mode is on and a parameter requires it.
  absl::StatusOr<std::vector<at::Tensor>> Run(at::ArrayRef<at::Tensor> inputs);

  /// Runs the graph and also returns the values named, after its outputs.
  absl::StatusOr<std::vector<at::Tensor>> RunAndFetch(at::ArrayRef<at::Tensor> inputs,
                                                      const std::vector<std::string>& values);

  /// Returns the values named alone, running only the nodes up to the last one that writes one of them.
  absl::StatusOr<std::vector<at::Tensor>> Fetch(at::ArrayRef<at::Tensor> inputs, const std::vector<std::string>& values);

  /// The initializers that the graph reads, by name; assign into the map's tensors' data or replace them to train.
  /// Entries must not be erased. Weights of convolutions lie in channels_last.
  std::map<std::string, at::Tensor>& parameters();

  /// Moves the parameters to a device, for graphs that run there. Integers (shapes, axes, indices) stay on the host,
  /// where kernels read them.
  void To(at::Device device);

 private:
  struct Plan;
  explicit Executor(std::unique_ptr<Plan> plan);
  absl::Status CheckInputs(at::ArrayRef<at::Tensor> inputs) const;
  absl::StatusOr<std::vector<int>> SlotsOf(const std::vector<std::string>& values) const;
  std::unique_ptr<Plan> plan_;
};

}  // namespace pactory::quant
