// BatchNormalization, InstanceNormalization, LayerNormalization, GroupNormalization, RMSNormalization, LRN and the
// like.
#include <ATen/ATen.h>

#include <numeric>

#include "quant/ops/arguments.h"
#include "quant/ops/registry.h"

namespace pactory::quant {
namespace {

// y = (x - mean) / sqrt(var + epsilon) * scale + bias, by channel, with the stored statistics.
absl::StatusOr<Kernel> BindBatchNormalization(const Node& node, int64_t opset) {
  const double epsilon = node.FloatOr("epsilon", 1e-5f);
  if (node.IntOr("training_mode", 0) != 0) {
    return absl::UnimplementedError("BatchNormalization must be in inference mode: training_mode=1; export the model "
                                    "for inference");
  }
  if (opset < 9 && node.IntOr("spatial", 1) == 0) {
    return absl::UnimplementedError("BatchNormalization must be spatial: spatial=0");
  }
  return Kernel([epsilon](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor& input = RequiredInput(arguments, 0);
    const at::ScalarType type = input.scalar_type();
    return {at::batch_norm(input, RequiredInput(arguments, 1).to(type), RequiredInput(arguments, 2).to(type),
                           RequiredInput(arguments, 3).to(type), RequiredInput(arguments, 4).to(type),
                           /*training=*/false, /*momentum=*/0.1, epsilon, /*cudnn_enabled=*/false)};
  });
}

absl::StatusOr<Kernel> BindInstanceNormalization(const Node& node, int64_t) {
  const double epsilon = node.FloatOr("epsilon", 1e-5f);
  return Kernel([epsilon](Arguments arguments) -> std::vector<at::Tensor> {
    return {at::instance_norm(RequiredInput(arguments, 0), RequiredInput(arguments, 1), RequiredInput(arguments, 2), {},
                              {}, /*use_input_stats=*/true, /*momentum=*/0.1, epsilon, /*cudnn_enabled=*/false)};
  });
}

std::vector<int64_t> AxesFrom(int64_t axis, int64_t rank) {
  std::vector<int64_t> axes(rank - axis);
  std::iota(axes.begin(), axes.end(), axis);
  return axes;
}

// Y, Mean, InvStdDev over the axes from `axis` on; computed in float for narrower types.
absl::StatusOr<Kernel> BindLayerNormalization(const Node& node, int64_t) {
  const double epsilon = node.FloatOr("epsilon", 1e-5f);
  const int64_t axis = node.IntOr("axis", -1);
  const bool statistics = node.outputs.size() > 1;
  return Kernel([=](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor& input = RequiredInput(arguments, 0);
    const at::Tensor& scale = RequiredInput(arguments, 1);
    const at::Tensor bias = OptionalInput(arguments, 2);
    const int64_t first = NormalAxis(axis, input.dim());
    const at::IntArrayRef shape = input.sizes().slice(first);
    if (!statistics && scale.sizes() == shape && (!bias.defined() || bias.sizes() == shape)) {
      return {at::layer_norm(input, shape, scale, bias, epsilon)};
    }
    const at::Tensor x = input.scalar_type() == at::kDouble ? input : input.to(at::kFloat);
    const std::vector<int64_t> axes = AxesFrom(first, input.dim());
    const at::Tensor mean = at::mean(x, axes, /*keepdim=*/true);
    const at::Tensor centred = x - mean;
    const at::Tensor inverse = at::rsqrt(at::mean(centred * centred, axes, /*keepdim=*/true) + epsilon);
    at::Tensor output = (centred * inverse).to(input.scalar_type()) * scale;
    if (bias.defined()) output = output + bias;
    return {output, mean, inverse};
  });
}

// y = x / sqrt(mean(x^2) + epsilon) * scale over the axes from `axis` on.
absl::StatusOr<Kernel> BindRmsNormalization(const Node& node, int64_t) {
  const double epsilon = node.FloatOr("epsilon", 1e-5f);
  const int64_t axis = node.IntOr("axis", -1);
  return Kernel([=](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor& input = RequiredInput(arguments, 0);
    const at::Tensor x = input.scalar_type() == at::kDouble ? input : input.to(at::kFloat);
    const std::vector<int64_t> axes = AxesFrom(NormalAxis(axis, input.dim()), input.dim());
    const at::Tensor inverse = at::rsqrt(at::mean(x * x, axes, /*keepdim=*/true) + epsilon);
    return {(x * inverse).to(input.scalar_type()) * RequiredInput(arguments, 1)};
  });
}

// Up to opset 20 scale and bias are per group, from 21 on per channel.
absl::StatusOr<Kernel> BindGroupNormalization(const Node& node, int64_t opset) {
  const double epsilon = node.FloatOr("epsilon", 1e-5f);
  const int64_t groups = node.IntOr("num_groups", 1);
  if (groups < 1) return absl::InvalidArgumentError("num_groups must be at least 1");
  return Kernel([=](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor& input = RequiredInput(arguments, 0);
    at::Tensor scale = RequiredInput(arguments, 1);
    at::Tensor bias = RequiredInput(arguments, 2);
    if (opset < 21) {
      const int64_t repeats = input.size(1) / groups;
      scale = at::repeat_interleave(scale, repeats);
      bias = at::repeat_interleave(bias, repeats);
    }
    return {at::group_norm(input, groups, scale, bias, epsilon, /*cudnn_enabled=*/false)};
  });
}

// y = x / (bias + alpha / size * sum of x^2 over `size` channels around)^beta
absl::StatusOr<Kernel> BindLrn(const Node& node, int64_t) {
  const double alpha = node.FloatOr("alpha", 1e-4f);
  const double beta = node.FloatOr("beta", 0.75f);
  const double bias = node.FloatOr("bias", 1.0f);
  const int64_t size = node.IntOr("size", 1);
  if (size < 1) return absl::InvalidArgumentError("size must be at least 1");
  return Kernel([=](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor& input = RequiredInput(arguments, 0);
    TORCH_CHECK(input.dim() >= 3, "LRN's input must have spatial dimensions: rank=", input.dim());
    const at::Tensor squares = (input * input).reshape({input.size(0), 1, input.size(1), -1});
    const int64_t before = (size - 1) / 2;
    const at::Tensor padded = at::constant_pad_nd(squares, {0, 0, before, size - 1 - before}, 0);
    const at::Tensor means = at::avg_pool2d(padded, {size, 1}, {1, 1});
    return {input / at::pow(bias + alpha * means.reshape(input.sizes()), beta)};
  });
}

absl::StatusOr<Kernel> BindLpNormalization(const Node& node, int64_t) {
  const int64_t axis = node.IntOr("axis", -1);
  const int64_t p = node.IntOr("p", 2);
  return Kernel([=](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor& input = RequiredInput(arguments, 0);
    const at::Tensor norm = at::norm(input, p, {axis}, /*keepdim=*/true);
    // The spec gives 0 where the norm is 0.
    return {at::where(norm == 0, at::zeros_like(input), input / norm)};
  });
}

// y = (x - mean) / (standard deviation + 1e-9)
absl::StatusOr<Kernel> BindMeanVarianceNormalization(const Node& node, int64_t) {
  const std::vector<int64_t> axes = node.IntsOr("axes", {0, 2, 3});
  return Kernel([axes](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor& input = RequiredInput(arguments, 0);
    const at::Tensor centred = input - at::mean(input, axes, /*keepdim=*/true);
    return {centred / (at::sqrt(at::mean(centred * centred, axes, /*keepdim=*/true)) + 1e-9)};
  });
}

const OpRegistration kBatchNormalization({.name = "BatchNormalization", .bind = BindBatchNormalization});
const OpRegistration kInstanceNormalization({.name = "InstanceNormalization", .bind = BindInstanceNormalization});
const OpRegistration kLayerNormalization({.name = "LayerNormalization", .bind = BindLayerNormalization});
const OpRegistration kRmsNormalization({.name = "RMSNormalization", .first_opset = 23, .bind = BindRmsNormalization});
const OpRegistration kGroupNormalization(
    {.name = "GroupNormalization", .first_opset = 18, .bind = BindGroupNormalization});
const OpRegistration kLrn({.name = "LRN", .bind = BindLrn});
const OpRegistration kLpNormalization({.name = "LpNormalization", .bind = BindLpNormalization});
const OpRegistration kMeanVarianceNormalization(
    {.name = "MeanVarianceNormalization", .bind = BindMeanVarianceNormalization});

}  // namespace
}  // namespace pactory::quant
