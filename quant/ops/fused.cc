// Ops of the domain com.microsoft that ONNX Runtime's optimizer writes: FusedConv, FusedGemm, FusedMatMul, Gelu and its
// relatives, SkipLayerNormalization. Each is put together from the ops it stands for.
#include <ATen/ATen.h>

#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "quant/ops/arguments.h"
#include "quant/ops/registry.h"

namespace pactory::quant {
namespace {

constexpr char kMicrosoft[] = "com.microsoft";
// What the parts are bound at, whatever the model's own opset is.
constexpr int64_t kPartsOpset = 13;

// The kernel of the activation that the attribute `activation` names; null where there is none.
absl::StatusOr<Kernel> BindFusedActivation(const Node& node) {
  const std::string name = node.StringOr("activation", "");
  if (name.empty()) return Kernel();
  std::vector<float> parameters;
  if (const auto found = node.attributes.find("activation_params"); found != node.attributes.end()) {
    if (const auto* values = std::get_if<std::vector<float>>(&found->second)) parameters = *values;
  }
  Node part;
  part.op_type = name;
  const auto set = [&](std::initializer_list<const char*> names) {
    size_t index = 0;
    for (const char* attribute : names) {
      if (index < parameters.size()) part.attributes[attribute] = parameters[index];
      ++index;
    }
  };
  // Clip's bounds are attributes up to opset 10.
  int64_t opset = kPartsOpset;
  if (name == "LeakyRelu") set({"alpha"});
  else if (name == "HardSigmoid") set({"alpha", "beta"});
  else if (name == "Clip") set({"min", "max"}), opset = 10;
  else if (name != "Relu" && name != "Tanh" && name != "Sigmoid" && name != "HardSwish") {
    return absl::UnimplementedError(absl::StrCat("activation is not supported: activation=", name));
  }
  return FindOp("", name, opset)->bind(part, opset);
}

// y = activation(Conv(x, w, b) + z)
absl::StatusOr<Kernel> BindFusedConv(const Node& node, int64_t) {
  PACTORY_ASSIGN_OR_RETURN(const Kernel convolution, FindOp("", "Conv", kPartsOpset)->bind(node, kPartsOpset));
  PACTORY_ASSIGN_OR_RETURN(const Kernel activation, BindFusedActivation(node));
  return Kernel([=](Arguments arguments) -> std::vector<at::Tensor> {
    at::Tensor y = convolution(arguments.slice(0, std::min<size_t>(arguments.size(), 3))).at(0);
    if (const at::Tensor z = OptionalInput(arguments, 3); z.defined()) y = y + z;
    return activation ? activation({y}) : std::vector<at::Tensor>{y};
  });
}

absl::StatusOr<Kernel> BindFusedGemm(const Node& node, int64_t) {
  PACTORY_ASSIGN_OR_RETURN(const Kernel gemm, FindOp("", "Gemm", kPartsOpset)->bind(node, kPartsOpset));
  PACTORY_ASSIGN_OR_RETURN(const Kernel activation, BindFusedActivation(node));
  return Kernel([=](Arguments arguments) -> std::vector<at::Tensor> {
    const std::vector<at::Tensor> y = gemm(arguments);
    return activation ? activation(y) : y;
  });
}

// transBatch moves the first dimension behind the batch dimensions, trans swaps the last two of what results.
at::Tensor Arranged(const at::Tensor& x, bool transpose, bool transpose_batch) {
  at::Tensor result = x;
  if (transpose_batch && x.dim() > 2) {
    std::vector<int64_t> order(x.dim());
    std::iota(order.begin(), order.end(), 1);
    order[x.dim() - 2] = 0;
    order[x.dim() - 1] = x.dim() - 1;
    result = at::permute(result, order);
  }
  return transpose && x.dim() > 1 ? result.transpose(-1, -2) : result;
}

// y = alpha * A' * B'
absl::StatusOr<Kernel> BindFusedMatMul(const Node& node, int64_t) {
  const double alpha = node.FloatOr("alpha", 1);
  const bool transpose_a = node.IntOr("transA", 0) != 0;
  const bool transpose_b = node.IntOr("transB", 0) != 0;
  const bool batch_a = node.IntOr("transBatchA", 0) != 0;
  const bool batch_b = node.IntOr("transBatchB", 0) != 0;
  return Kernel([=](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor product = at::matmul(Arranged(RequiredInput(arguments, 0), transpose_a, batch_a),
                                          Arranged(RequiredInput(arguments, 1), transpose_b, batch_b));
    return {alpha == 1 ? product : product * alpha};
  });
}

// The input plus a bias that may be left out, through Gelu.
Bind GeluOf(const char* approximate) {
  return [approximate](const Node&, int64_t) -> absl::StatusOr<Kernel> {
    return Kernel([approximate](Arguments arguments) -> std::vector<at::Tensor> {
      const at::Tensor& x = RequiredInput(arguments, 0);
      const at::Tensor bias = OptionalInput(arguments, 1);
      return {at::gelu(bias.defined() ? x + bias : x, approximate)};
    });
  };
}

// y = x * sigmoid(alpha * x)
absl::StatusOr<Kernel> BindQuickGelu(const Node& node, int64_t) {
  const double alpha = node.FloatOr("alpha", 1.702f);
  return Kernel([alpha](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor& x = RequiredInput(arguments, 0);
    return {x * at::sigmoid(x * alpha)};
  });
}

// The normalized values of the last dimension, their mean and inverse standard deviation. Simplified: no mean is taken
// off.
std::vector<at::Tensor> Normalized(const at::Tensor& x, double epsilon, bool simplified) {
  const at::Tensor mean = simplified ? at::zeros({1}, x.options()) : at::mean(x, {-1}, /*keepdim=*/true);
  const at::Tensor centred = simplified ? x : x - mean;
  const at::Tensor inverse = at::rsqrt(at::mean(centred * centred, {-1}, /*keepdim=*/true) + epsilon);
  return {centred * inverse, mean, inverse};
}

// Outputs: normalized, mean, inverse standard deviation, and the sum that was normalized. Inputs: x, skip, gamma, beta
// (not for the simplified form), bias.
Bind SkipNormalization(bool simplified) {
  return [simplified](const Node& node, int64_t) -> absl::StatusOr<Kernel> {
    const double epsilon = node.FloatOr("epsilon", 1e-12f);
    return Kernel([=](Arguments arguments) -> std::vector<at::Tensor> {
      at::Tensor sum = RequiredInput(arguments, 0) + RequiredInput(arguments, 1);
      const at::Tensor beta = simplified ? at::Tensor() : OptionalInput(arguments, 3);
      if (const at::Tensor bias = OptionalInput(arguments, simplified ? 3 : 4); bias.defined()) sum = sum + bias;
      std::vector<at::Tensor> outputs = Normalized(sum, epsilon, simplified);
      outputs[0] = outputs[0] * RequiredInput(arguments, 2);
      if (beta.defined()) outputs[0] = outputs[0] + beta;
      outputs.push_back(sum);
      return outputs;
    });
  };
}

// In the default domain, though no ONNX op.
absl::StatusOr<Kernel> BindSimplifiedLayerNormalization(const Node& node, int64_t) {
  const double epsilon = node.FloatOr("epsilon", 1e-5f);
  if (node.IntOr("axis", -1) != -1) return absl::UnimplementedError("axis must be the last one");
  return Kernel([epsilon](Arguments arguments) -> std::vector<at::Tensor> {
    const std::vector<at::Tensor> parts = Normalized(RequiredInput(arguments, 0), epsilon, /*simplified=*/true);
    return {parts[0] * RequiredInput(arguments, 1), parts[2]};
  });
}

const OpRegistration kFusedConv({.name = "FusedConv", .domain = kMicrosoft, .bind = BindFusedConv});
const OpRegistration kFusedGemm({.name = "FusedGemm", .domain = kMicrosoft, .bind = BindFusedGemm});
const OpRegistration kFusedMatMul({.name = "FusedMatMul", .domain = kMicrosoft, .bind = BindFusedMatMul});
const OpRegistration kMicrosoftGelu({.name = "Gelu", .domain = kMicrosoft, .bind = GeluOf("none")});
const OpRegistration kBiasGelu({.name = "BiasGelu", .domain = kMicrosoft, .bind = GeluOf("none")});
const OpRegistration kFastGelu({.name = "FastGelu", .domain = kMicrosoft, .bind = GeluOf("tanh")});
const OpRegistration kQuickGelu({.name = "QuickGelu", .domain = kMicrosoft, .bind = BindQuickGelu});
const OpRegistration kSkipLayerNormalization(
    {.name = "SkipLayerNormalization", .domain = kMicrosoft, .bind = SkipNormalization(/*simplified=*/false)});
const OpRegistration kSkipSimplifiedLayerNormalization(
    {.name = "SkipSimplifiedLayerNormalization", .domain = kMicrosoft, .bind = SkipNormalization(/*simplified=*/true)});
const OpRegistration kSimplifiedLayerNormalization(
    {.name = "SimplifiedLayerNormalization", .bind = BindSimplifiedLayerNormalization});

}  // namespace
}  // namespace pactory::quant
