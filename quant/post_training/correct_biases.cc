#include "quant/post_training/correct_biases.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <string>
#include <vector>

#include "base/status_macros.h"
#include "quant/guard.h"

namespace pactory::quant {
namespace {

// The mean of a layer's output by channel, as it grows.
struct ChannelMean {
  at::Tensor sum;
  int64_t count = 0;

  // Channels are axis 1 of images and the last axis of matrices, which is the same for those of rank 2.
  void Add(const at::Tensor& output) {
    const at::Tensor channels = output.to(at::kDouble).movedim(1, 0).flatten(1);
    sum = sum.defined() ? sum + channels.sum({1}) : channels.sum({1});
    count += channels.size(1);
  }

  at::Tensor Value() const { return sum / static_cast<double>(count); }
};

absl::StatusOr<std::vector<ChannelMean>> MeansOf(Executor& executor, const std::vector<std::string>& outputs,
                                                 const CalibrationSamples& samples) {
  std::vector<ChannelMean> means(outputs.size());
  for (int64_t begin = 0; begin < samples.size(); begin += samples.batch_size()) {
    PACTORY_ASSIGN_OR_RETURN(const std::vector<at::Tensor> batch, samples.Read(begin));
    PACTORY_ASSIGN_OR_RETURN(const std::vector<at::Tensor> values, executor.Fetch(batch, outputs));
    PACTORY_RETURN_IF_ERROR(GuardTorch("bias correction", [&] {
      for (size_t i = 0; i < outputs.size(); ++i) means[i].Add(values[i]);
      return absl::OkStatus();
    }));
  }
  return means;
}

// Whether the layer's bias has one value for each output channel and nobody else reads it.
bool HasOwnBias(const Graph& graph, const LayerPlan& layer, int64_t channels) {
  const auto bias = graph.initializers.find(layer.bias);
  return bias != graph.initializers.end() && bias->second.numel() == channels && graph.Consumers(layer.bias).size() == 1;
}

}  // namespace

absl::Status CorrectBiases(QuantizedModel& model, Executor& fp32, const QuantizationPlan& plan, const CalibrationSamples& samples,
                           const std::function<absl::Status(double share)>& on_layer) {
  c10::NoGradGuard no_grad;
  model.SetMode(QuantizerMode::kFrozen);
  std::vector<const LayerPlan*> layers;
  std::vector<std::string> outputs;
  for (const LayerPlan& layer : plan.layers) {
    if (layer.weight_quantizer.empty() || layer.bias.empty()) continue;
    layers.push_back(&layer);
    outputs.push_back(layer.output);
  }
  PACTORY_ASSIGN_OR_RETURN(const std::vector<ChannelMean> exact, MeansOf(fp32, outputs, samples));
  for (size_t i = 0; i < layers.size(); ++i) {
    if (HasOwnBias(model.graph(), *layers[i], exact[i].sum.numel())) {
      // One layer at a time, because each correction moves what the layers behind it see.
      PACTORY_ASSIGN_OR_RETURN(const std::vector<ChannelMean> quantized, MeansOf(model.executor(), {outputs[i]}, samples));
      PACTORY_RETURN_IF_ERROR(GuardTorch("bias correction", [&] {
        at::Tensor& bias = model.parameters().at(layers[i]->bias);
        bias.add_((exact[i].Value() - quantized[0].Value()).reshape(bias.sizes()).to(bias.scalar_type()));
        return absl::OkStatus();
      }));
    }
    if (on_layer) PACTORY_RETURN_IF_ERROR(on_layer(static_cast<double>(i + 1) / static_cast<double>(layers.size())));
  }
  return absl::OkStatus();
}

}  // namespace pactory::quant
