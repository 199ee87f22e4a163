// Puts FakeQuantize nodes (domain "pactory") where the exporter will put Q/DQ pairs, so that the grid trained is the grid
// exported. Used by the pipeline. Stateless.
//
// A node `FakeQuantize` has one input, one output and the string attribute `quantizer`: the id of its quantizer. Nodes that
// share an id share a scale. A node `FakeQuantizeBias` reads a bias and its layer's weight and puts the bias on the grid of the
// layer's integer sums: the scales of `input_quantizer` and `weight_quantizer`, its string attributes, multiplied.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "pactory/v1/quantization.pb.h"
#include "quant/graph/graph.h"

namespace pactory::quant {

/// Whether a tensor can hold values below 0, by the ops that write it.
enum class Sign { kNonNegative, kAny };

/// A quantized activation.
struct ActivationPlacement {
  std::string id;
  /// Value that is quantized.
  std::string value;
  /// Node that writes it; "" for a graph input.
  std::string node;
  int64_t bits = 8;
  Sign sign = Sign::kAny;
  /// What an override asks for; else the config's.
  v1::QuantizerMethod override_method = v1::QUANTIZER_METHOD_UNSPECIFIED;
};

/// A quantized weight.
struct WeightPlacement {
  std::string id;
  /// Initializer that is quantized.
  std::string value;
  /// First node that reads it.
  std::string node;
  int64_t bits = 8;
  /// Axis of the output channels, or -1 for one scale.
  int64_t channel_axis = -1;
  /// Where the pipeline chose one for this weight; else the config's.
  v1::WeightConfig::WeightRange range = v1::WeightConfig::WEIGHT_RANGE_UNSPECIFIED;
  /// What an override asks for; else `range`, and the config's method.
  v1::WeightConfig::WeightRange override_range = v1::WeightConfig::WEIGHT_RANGE_UNSPECIFIED;
  v1::QuantizerMethod override_method = v1::QUANTIZER_METHOD_UNSPECIFIED;
};

/// How the deployed file computes a layer.
enum class LayerCompute {
  /// In float, with float weights.
  kFloat,
  /// In float, with weights that are stored on their grid.
  kWeightOnly,
  /// In int8.
  kInt8,
};

/// What happens to one layer with weights.
struct LayerPlan {
  std::string node;
  std::string op_type;
  /// Initializers; "" where there is none.
  std::string weight;
  std::string bias;
  /// Ids of quantizers; "" where the tensor stays in float, and for the output where the layer needs none there.
  std::string input_quantizer;
  std::string weight_quantizer;
  std::string output_quantizer;
  /// Value whose deviation from the FP32 model is reported.
  std::string output;
  LayerCompute compute = LayerCompute::kFloat;
  /// Why the layer is not computed in int8; "" where it is.
  std::string float_reason;
};

/// Every quantizer of a graph.
struct QuantizationPlan {
  std::vector<ActivationPlacement> activations;
  std::vector<WeightPlacement> weights;
  std::vector<LayerPlan> layers;
  /// What the user should know, like an override that matches nothing.
  std::vector<std::string> warnings;
};

/// Changes `graph` and returns what was placed, in place of the pairs that the file had (replace_stored_pairs.h). Requires a complete
/// config and a graph after the other passes.
/// FAILED_PRECONDITION where there is nothing to quantize.
absl::StatusOr<QuantizationPlan> InsertQuantizers(Graph& graph, const v1::QuantizationConfig& config);

}  // namespace pactory::quant
