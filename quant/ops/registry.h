// The table of ops. Each op is one registration in its family's file; nobody else lists op names. Sealed at load time,
// thread-safe after.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "quant/graph/graph.h"
#include "quant/kernels/pointwise_chain.h"

namespace pactory::quant {

/// One node made ready to run: attributes are read once, at bind time. Takes the node's inputs (an undefined tensor
/// where an optional one is absent), returns its outputs. Differentiable by autograd. May throw c10::Error; the
/// executor is the seam.
using Kernel = std::function<std::vector<at::Tensor>(at::ArrayRef<at::Tensor>)>;

/// Makes a node, given its other operand where it has one, a stage of a chain of elementwise ops as things are now; nothing where it
/// cannot be one this time.
using StageMaker = std::function<std::optional<PointwiseStage>(const at::Tensor& other)>;

/// How an op takes part in quantization.
enum class QuantizationRole {
  /// Has a weight that is quantized, and a quantized input: Conv, Gemm, MatMul.
  kWeighted,
  /// Reads and writes activations that may be quantized: Add, Mul, AveragePool.
  kActivation,
  /// Gives out values of its input unchanged, so input and output share a scale: MaxPool, Reshape, Transpose.
  kPassThrough,
  /// Always computed in float: Softmax, LayerNormalization, shape arithmetic.
  kFloatOnly,
};

/// What is known of one ONNX op over a range of opsets.
struct OpDefinition {
  std::string name = "";
  /// "" is the default ONNX domain.
  std::string domain = "";
  int first_opset = 1;
  int last_opset = 999;
  QuantizationRole role = QuantizationRole::kFloatOnly;
  /// For kWeighted: which input is the weight, and its output channels' axis given the node.
  int weight_input = -1;
  std::function<int64_t(const Node&, const at::Tensor& weight)> channel_axis = {};
  /// Whether no output value can be negative, whatever the input.
  bool non_negative = false;
  /// Whether no output value can be negative when no input value is. IsNonNegative (value_range.h) puts these together.
  bool keeps_non_negative = false;
  /// Decides for one node where its constants matter, like Clip's lower bound. Absent: `non_negative` alone decides.
  std::function<bool(const Graph&, const Node&)> non_negative_node = {};
  /// For elementwise ops that may run in one with those beside them: makes a node's StageMaker, empty where its attributes forbid.
  std::function<StageMaker(const Graph&, const Node&)> stage = {};
  /// Whether the stage has the node's second input as its other operand.
  bool stage_has_operand = false;
  /// Makes the kernel of a node; INVALID_ARGUMENT or UNIMPLEMENTED names an attribute that can't be honoured.
  std::function<absl::StatusOr<Kernel>(const Node&, int64_t opset)> bind = {};
};

/// Puts a definition into the table; a static object of each op's file.
class OpRegistration {
 public:
  explicit OpRegistration(OpDefinition definition);
};

/// Returns the definition for an op at an opset version of its domain, or null.
const OpDefinition* FindOp(absl::string_view domain, absl::string_view name, int64_t opset);

/// Returns the definition of a node's op in `graph`, or null.
const OpDefinition* FindOp(const Graph& graph, const Node& node);

/// Returns every definition, by domain, name and first opset.
std::vector<const OpDefinition*> AllOps();

}  // namespace pactory::quant
