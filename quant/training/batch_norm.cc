#include "quant/training/batch_norm.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "quant/passes/fold_batch_norm.h"

namespace pactory::quant {
namespace {

// A channel that is folded to next to nothing tells nothing of its statistics.
constexpr double kLeastFactor = 1e-8;

// The factor that folding multiplies a channel's weight by.
at::Tensor Factor(const UnfoldedLayer& layer, const at::Tensor& gamma, const at::Tensor& variance) {
  return gamma / at::sqrt(variance + layer.epsilon);
}

}  // namespace

BatchNormTraining::BatchNormTraining(std::vector<UnfoldedLayer> layers) : layers_(std::move(layers)) {}

absl::StatusOr<Kernel> BatchNormTraining::Bind(const Node& node) {
  const std::string name = node.StringOr("layer", "");
  const auto layer = std::find_if(layers_.begin(), layers_.end(), [&](const UnfoldedLayer& other) { return other.layer.name == name; });
  if (layer == layers_.end()) return absl::InternalError(absl::StrCat("node must belong to an unfolded layer: node=", node.name));
  const UnfoldedLayer* found = &*layer;
  if (node.op_type == "FoldBatchNorm") {
    return Kernel([this, found](at::ArrayRef<at::Tensor> inputs) { return Fold(*found, inputs); });
  }
  return Kernel([this, found](at::ArrayRef<at::Tensor> inputs) { return std::vector<at::Tensor>{Normalize(*found, inputs)}; });
}

std::vector<at::Tensor> BatchNormTraining::Fold(const UnfoldedLayer& layer, at::ArrayRef<at::Tensor> inputs) const {
  const at::Tensor &raw = inputs[0], &gamma = inputs[1], &beta = inputs[2];
  // Copies: Normalize changes the statistics before the backward pass reads them.
  const at::Tensor mean = inputs[3].detach().clone(), variance = inputs[4].detach().clone();
  const at::Tensor factor = Factor(layer, gamma, variance);
  return {ScaleOutputChannels(layer.layer, raw, factor), beta - mean * factor};
}

at::Tensor BatchNormTraining::Normalize(const UnfoldedLayer& layer, at::ArrayRef<at::Tensor> inputs) const {
  const at::Tensor& z = inputs[0];
  if (momentum_ == 0) return z;
  const at::Tensor &gamma = inputs[1], &beta = inputs[2], &mean = inputs[3], &variance = inputs[4];
  std::vector<int64_t> axes = {0};
  for (int64_t axis = 2; axis < z.dim(); ++axis) axes.push_back(axis);
  std::vector<int64_t> by_channel(static_cast<size_t>(z.dim()), 1);
  by_channel[1] = -1;
  // With its gradient, which takes out again what gamma does to z.
  const at::Tensor factor = Factor(layer, gamma, variance);
  // z = factor * (raw - mean) + beta: its normalized form is raw's, with the sign of gamma.
  const at::Tensor z_mean = z.mean(axes);
  const at::Tensor z_variance = z.var(axes, /*unbiased=*/false);
  const at::Tensor rate = gamma.abs() / at::sqrt(z_variance + factor.square() * layer.epsilon);
  {
    c10::NoGradGuard no_grad;
    const at::Tensor known = factor.abs() > kLeastFactor;
    const at::Tensor divisor = at::where(known, factor, at::ones_like(factor));
    const double count = static_cast<double>(z.numel() / z.size(1));
    const at::Tensor batch_mean = mean + (z_mean - beta) / divisor;
    const at::Tensor batch_variance = z_variance / divisor.square() * (count / std::max(1.0, count - 1));
    mean.copy_(at::where(known, mean + (batch_mean - mean) * momentum_, mean));
    variance.copy_(at::where(known, variance + (batch_variance - variance) * momentum_, variance));
  }
  return (z - z_mean.reshape(by_channel)) * rate.reshape(by_channel) + beta.reshape(by_channel);
}

std::map<std::string, at::Tensor> BatchNormTraining::FoldedParameters(const std::map<std::string, at::Tensor>& parameters) const {
  c10::NoGradGuard no_grad;
  std::map<std::string, at::Tensor> folded;
  for (const UnfoldedLayer& layer : layers_) {
    const std::vector<at::Tensor> result = Fold(layer, {parameters.at(layer.raw_weight), parameters.at(layer.gamma), parameters.at(layer.beta),
                                                        parameters.at(layer.mean), parameters.at(layer.variance)});
    folded[layer.weight] = result[0].detach();
    folded[layer.bias] = result[1].detach();
  }
  return folded;
}

}  // namespace pactory::quant
