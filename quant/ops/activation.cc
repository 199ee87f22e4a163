// Activation functions: Relu and its relatives, sigmoids, Gelu, Softmax.
#include <ATen/ATen.h>

#include <cmath>
#include <limits>

#include "quant/ops/arguments.h"
#include "quant/ops/registry.h"

namespace pactory::quant {
namespace {

// y = clip(alpha * x + beta, 0, 1)
at::Tensor HardSigmoid(const at::Tensor& x, double alpha, double beta) { return at::clamp(x * alpha + beta, 0, 1); }

absl::StatusOr<Kernel> BindHardSigmoid(const Node& node, int64_t) {
  const double alpha = node.FloatOr("alpha", 0.2f);
  const double beta = node.FloatOr("beta", 0.5f);
  return Kernel([=](Arguments arguments) -> std::vector<at::Tensor> {
    return {HardSigmoid(RequiredInput(arguments, 0), alpha, beta)};
  });
}

absl::StatusOr<Kernel> BindLeakyRelu(const Node& node, int64_t) {
  const double alpha = node.FloatOr("alpha", 0.01f);
  return Kernel([alpha](Arguments arguments) -> std::vector<at::Tensor> {
    return {at::leaky_relu(RequiredInput(arguments, 0), alpha)};
  });
}

absl::StatusOr<Kernel> BindElu(const Node& node, int64_t) {
  const double alpha = node.FloatOr("alpha", 1.0f);
  return Kernel([alpha](Arguments arguments) -> std::vector<at::Tensor> {
    return {at::elu(RequiredInput(arguments, 0), alpha)};
  });
}

absl::StatusOr<Kernel> BindCelu(const Node& node, int64_t) {
  const double alpha = node.FloatOr("alpha", 1.0f);
  if (alpha == 0) return absl::InvalidArgumentError("alpha must not be 0");
  return Kernel([alpha](Arguments arguments) -> std::vector<at::Tensor> {
    return {at::celu(RequiredInput(arguments, 0), alpha)};
  });
}

// y = gamma * (alpha * exp(x) - alpha) for x <= 0, gamma * x above
absl::StatusOr<Kernel> BindSelu(const Node& node, int64_t) {
  const double alpha = node.FloatOr("alpha", 1.67326319217681884765625f);
  const double gamma = node.FloatOr("gamma", 1.05070102214813232421875f);
  return Kernel([=](Arguments arguments) -> std::vector<at::Tensor> {
    return {at::elu(RequiredInput(arguments, 0), alpha, gamma)};
  });
}

absl::StatusOr<Kernel> BindThresholdedRelu(const Node& node, int64_t) {
  const double alpha = node.FloatOr("alpha", 1.0f);
  return Kernel([alpha](Arguments arguments) -> std::vector<at::Tensor> {
    return {at::threshold(RequiredInput(arguments, 0), alpha, 0)};
  });
}

// y = x < -lambd ? x + bias : x > lambd ? x - bias : 0
absl::StatusOr<Kernel> BindShrink(const Node& node, int64_t) {
  const double lambd = node.FloatOr("lambd", 0.5f);
  const double bias = node.FloatOr("bias", 0.0f);
  return Kernel([=](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor& x = RequiredInput(arguments, 0);
    const at::Tensor zero = at::zeros_like(x);
    return {at::where(x < -lambd, x + bias, at::where(x > lambd, x - bias, zero)).to(x.scalar_type())};
  });
}

absl::StatusOr<Kernel> BindGelu(const Node& node, int64_t) {
  const std::string approximate = node.StringOr("approximate", "none");
  if (approximate != "none" && approximate != "tanh") {
    return absl::InvalidArgumentError("approximate must be none or tanh: approximate=" + approximate);
  }
  return Kernel([approximate](Arguments arguments) -> std::vector<at::Tensor> {
    return {at::gelu(RequiredInput(arguments, 0), approximate)};
  });
}

// y = x * sigmoid(alpha * x)
absl::StatusOr<Kernel> BindSwish(const Node& node, int64_t) {
  const double alpha = node.FloatOr("alpha", 1.0f);
  return Kernel([alpha](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor& x = RequiredInput(arguments, 0);
    return {x * at::sigmoid(x * alpha)};
  });
}

at::Tensor PRelu(const at::Tensor& x, const at::Tensor& slope) { return at::where(x < 0, x * slope, x); }

// Bounds are attributes before opset 11, inputs from then on.
absl::StatusOr<Kernel> BindClip(const Node& node, int64_t opset) {
  if (opset < 11) {
    const double low = node.FloatOr("min", std::numeric_limits<float>::lowest());
    const double high = node.FloatOr("max", std::numeric_limits<float>::max());
    return Kernel([=](Arguments arguments) -> std::vector<at::Tensor> {
      return {at::clamp(RequiredInput(arguments, 0), low, high)};
    });
  }
  return Kernel([](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor& x = RequiredInput(arguments, 0);
    const at::Tensor low = OptionalInput(arguments, 1);
    const at::Tensor high = OptionalInput(arguments, 2);
    if (!low.defined() && !high.defined()) return {x};
    // Scalars, not tensors, for the bounds: that kernel needs no gradient for them.
    if (!x.is_floating_point()) {
      std::optional<at::Tensor> low_tensor = low.defined() ? std::optional(low) : std::nullopt;
      std::optional<at::Tensor> high_tensor = high.defined() ? std::optional(high) : std::nullopt;
      return {at::clamp(x, low_tensor, high_tensor)};
    }
    std::optional<at::Scalar> low_value = low.defined() ? std::optional(low.item()) : std::nullopt;
    std::optional<at::Scalar> high_value = high.defined() ? std::optional(high.item()) : std::nullopt;
    return {at::clamp(x, low_value, high_value)};
  });
}

// A bound that is stored, infinity where there is none, or nothing where it is computed.
std::optional<double> StoredBound(const Graph& graph, const Node& node, size_t input, double without) {
  if (node.inputs.size() <= input || node.inputs[input].empty()) return without;
  const auto stored = graph.initializers.find(node.inputs[input]);
  if (stored == graph.initializers.end() || stored->second.numel() != 1 || !stored->second.is_floating_point()) return std::nullopt;
  return Numbers(stored->second)[0];
}

StageMaker StageOfClip(const Graph& graph, const Node& node) {
  constexpr double kUnbounded = std::numeric_limits<float>::infinity();
  std::optional<double> low = node.FloatOr("min", -kUnbounded), high = node.FloatOr("max", kUnbounded);
  if (graph.opset() >= 11) {
    low = StoredBound(graph, node, 1, -kUnbounded);
    high = StoredBound(graph, node, 2, kUnbounded);
  }
  if (!low.has_value() || !high.has_value()) return {};
  return [low = *low, high = *high](const at::Tensor&) { return ClipStage(low, high); };
}

bool ClipIsNonNegative(const Graph& graph, const Node& node) {
  if (graph.opset() < 11) return node.FloatOr("min", -1) >= 0;
  if (node.inputs.size() < 2) return false;
  const auto low = graph.initializers.find(node.inputs[1]);
  return low != graph.initializers.end() && low->second.numel() == 1 && Numbers(low->second)[0] >= 0;
}

// Before opset 13 the dimensions from `axis` on are one: the softmax runs over all of them together.
Bind SoftmaxLike(at::Tensor (*function)(const at::Tensor&, int64_t)) {
  return [function](const Node& node, int64_t opset) -> absl::StatusOr<Kernel> {
    const int64_t axis = node.IntOr("axis", opset < 13 ? 1 : -1);
    return Kernel([=](Arguments arguments) -> std::vector<at::Tensor> {
      const at::Tensor& x = RequiredInput(arguments, 0);
      const int64_t normal = NormalAxis(axis, std::max<int64_t>(x.dim(), 1));
      if (opset >= 13 || normal == x.dim() - 1) return {function(x, normal)};
      return {function(x.flatten(normal), normal).reshape(x.sizes())};
    });
  };
}

at::Tensor Softmax(const at::Tensor& x, int64_t axis) { return at::softmax(x, axis); }
at::Tensor LogSoftmax(const at::Tensor& x, int64_t axis) { return at::log_softmax(x, axis); }
// 1 at the first largest element, 0 elsewhere.
at::Tensor Hardmax(const at::Tensor& x, int64_t axis) {
  return at::zeros_like(x).scatter(axis, at::argmax(x, axis, /*keepdim=*/true), 1);
}

constexpr QuantizationRole kActivationRole = QuantizationRole::kActivation;

const OpRegistration kRelu({.name = "Relu",
                            .role = kActivationRole,
                            .non_negative = true,
                            .stage = Stage([](const at::Tensor&) { return ReluStage(); }),
                            .bind = Unary([](const at::Tensor& x) { return at::relu(x); })});
const OpRegistration kClip({.name = "Clip",
                            .role = kActivationRole,
                            .non_negative_node = ClipIsNonNegative,
                            .stage = StageOfClip,
                            .bind = BindClip});
const OpRegistration kLeakyRelu({.name = "LeakyRelu",
                                 .role = kActivationRole,
                                 .keeps_non_negative = true,
                                 .bind = BindLeakyRelu});
const OpRegistration kPRelu({.name = "PRelu", .role = kActivationRole, .bind = Binary(PRelu)});
const OpRegistration kSigmoid({.name = "Sigmoid",
                               .role = kActivationRole,
                               .non_negative = true,
                               .bind = Unary([](const at::Tensor& x) { return at::sigmoid(x); })});
const OpRegistration kHardSigmoid({.name = "HardSigmoid",
                                   .role = kActivationRole,
                                   .non_negative = true,
                                   .bind = BindHardSigmoid});
// Defined from opset 14 on; accepted in older graphs too, where a pass writes it in place of its decomposed form.
const OpRegistration kHardSwish({.name = "HardSwish",
                                 .role = kActivationRole,
                                 .keeps_non_negative = true,
                                 .stage = Stage([](const at::Tensor&) { return HardSwishStage(); }),
                                 .bind = Unary([](const at::Tensor& x) { return at::hardswish(x); })});
const OpRegistration kTanh({.name = "Tanh",
                            .role = kActivationRole,
                            .keeps_non_negative = true,
                            .bind = Unary([](const at::Tensor& x) { return at::tanh(x); })});
const OpRegistration kElu({.name = "Elu", .role = kActivationRole, .bind = BindElu});
const OpRegistration kCelu({.name = "Celu", .role = kActivationRole, .bind = BindCelu});
const OpRegistration kSelu({.name = "Selu", .role = kActivationRole, .bind = BindSelu});
const OpRegistration kGelu({.name = "Gelu", .role = kActivationRole, .keeps_non_negative = true, .bind = BindGelu});
const OpRegistration kSwish({.name = "Swish", .role = kActivationRole, .bind = BindSwish});
const OpRegistration kMish({.name = "Mish",
                            .role = kActivationRole,
                            .keeps_non_negative = true,
                            .bind = Unary([](const at::Tensor& x) { return at::mish(x); })});
const OpRegistration kSoftplus({.name = "Softplus",
                                .role = kActivationRole,
                                .non_negative = true,
                                .bind = Unary([](const at::Tensor& x) { return at::softplus(x); })});
const OpRegistration kSoftsign({.name = "Softsign",
                                .role = kActivationRole,
                                .keeps_non_negative = true,
                                .bind = Unary([](const at::Tensor& x) { return x / (1 + at::abs(x)); })});
const OpRegistration kThresholdedRelu({.name = "ThresholdedRelu",
                                       .role = kActivationRole,
                                       .keeps_non_negative = true,
                                       .bind = BindThresholdedRelu});
const OpRegistration kShrink({.name = "Shrink", .bind = BindShrink});
const OpRegistration kSoftmax({.name = "Softmax", .non_negative = true, .bind = SoftmaxLike(Softmax)});
const OpRegistration kLogSoftmax({.name = "LogSoftmax", .bind = SoftmaxLike(LogSoftmax)});
const OpRegistration kHardmax({.name = "Hardmax", .non_negative = true, .bind = SoftmaxLike(Hardmax)});

}  // namespace
}  // namespace pactory::quant
