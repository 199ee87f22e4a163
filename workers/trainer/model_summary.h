// What a model is made of and what quantization would do to it, for `pactory-trainer inspect`. Stateless.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "pactory/v1/quantization.pb.h"
#include "quant/graph/graph.h"

namespace pactory {

/// One layer with weights, or another node that holds a matrix and stays float.
struct LayerSummary {
  std::string name;
  std::string op;
  /// Elements of weight and bias.
  int64_t parameters = 0;
  /// Multiplications and additions for one sample; absent where shapes are not known.
  std::optional<int64_t> flops;
  /// 0 where the weight stays float.
  int64_t weight_bits = 0;
  /// Why the layer computes in float, be its weight stored quantized or not; "" where it computes in int8.
  std::string float_reason;
};

/// A model.
struct ModelSummary {
  int64_t opset = 0;
  std::vector<quant::ValueInfo> inputs;
  std::vector<quant::ValueInfo> outputs;
  /// Nodes by op, in the file and after the preparation passes.
  std::map<std::string, int64_t> file_ops;
  std::map<std::string, int64_t> prepared_ops;
  std::vector<LayerSummary> layers;
  int64_t parameters = 0;
  /// Of layers with weights and recurrent ops; absent where shapes are not known.
  std::optional<int64_t> flops;
  /// Why they are not known; "" where they are.
  std::string flops_problem;
  int64_t quantized_activations = 0;
  /// Bytes of all tensors as float, and with quantized weights, their scales and 32-bit biases. Without the file's
  /// nodes.
  int64_t float_bytes = 0;
  int64_t quantized_bytes = 0;
  std::vector<std::string> warnings;
};

/// Dimensions behind the batch, by the name of the input.
using SampleShapes = std::map<std::string, std::vector<int64_t>>;

/// Summarizes an imported model under a complete config. `shapes` replace dimensions of inputs; open ones make the FLOPs unknown.
/// UNIMPLEMENTED lists unsupported ops.
absl::StatusOr<ModelSummary> SummarizeModel(quant::Graph graph, const v1::QuantizationConfig& config, const SampleShapes& shapes);

}  // namespace pactory
