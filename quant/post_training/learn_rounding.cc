#include "quant/post_training/learn_rounding.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numbers>
#include <set>
#include <string>
#include <vector>

#include "base/status_macros.h"
#include "quant/data/data_order.h"
#include "quant/guard.h"
#include "quant/post_training/layer_samples.h"
#include "quant/post_training/rounded_weight.h"
#include "quant/training/optimizer.h"

namespace pactory::quant {
namespace {

constexpr int64_t kMaxSampleBytes = 256 << 20;
constexpr double kWarmStart = 0.2;
constexpr double kFirstBeta = 20;
constexpr double kLastBeta = 2;

double BetaAt(double share_done) {
  const double share = (share_done - kWarmStart) / (1 - kWarmStart);
  return kLastBeta + 0.5 * (kFirstBeta - kLastBeta) * (1 + std::cos(share * std::numbers::pi));
}

// Learns the rounding of one layer.
class LayerRounding {
 public:
  LayerRounding(const IsolatedLayer& layer, const LayerSamples& samples, RoundedWeight weight, const v1::AdaRoundConfig& config,
                uint64_t seed)
      : layer_(layer), samples_(samples), weight_(std::move(weight)), config_(config), seed_(seed) {
    optimizer_ = MakeOptimizer({.kind = v1::TrainingConfig::ADAM}, {{.parameters = {{"rounding", weight_.variable()}}}});
    // Layers of any gain weigh the same against the regularization.
    power_ = std::max(samples_.targets.square().mean().item<double>(), 1e-30);
  }

  absl::Status Learn(const std::function<absl::Status(double share)>& on_progress) {
    for (int64_t step = 0; step < config_.steps(); ++step) {
      const double done = static_cast<double>(step) / static_cast<double>(config_.steps());
      PACTORY_RETURN_IF_ERROR(Step(step, done));
      if (on_progress) PACTORY_RETURN_IF_ERROR(on_progress(done));
    }
    return absl::OkStatus();
  }

  // The learned weight, or the nearest one where that keeps the outputs better.
  absl::StatusOr<at::Tensor> Result() {
    c10::NoGradGuard no_grad;
    const at::Tensor learned = weight_.Hard(), nearest = weight_.Nearest();
    PACTORY_ASSIGN_OR_RETURN(const double learned_error, ErrorOf(learned));
    PACTORY_ASSIGN_OR_RETURN(const double nearest_error, ErrorOf(nearest));
    return learned_error < nearest_error ? learned : nearest;
  }

 private:
  absl::StatusOr<at::Tensor> Output(const at::Tensor& inputs, const at::Tensor& weight) {
    const bool image = inputs.dim() == 4;
    const auto layout = image ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
    PACTORY_ASSIGN_OR_RETURN(std::vector<at::Tensor> outputs, layer_.executor->Run({inputs.contiguous(layout), weight}));
    return outputs[0];
  }

  // The samples of a step: an order of its own for each round through them.
  at::Tensor RowsOf(int64_t step) const {
    const int64_t size = samples_.inputs.size(0);
    const int64_t batch = std::min<int64_t>(config_.batch_size(), size);
    const int64_t per_round = size / batch;
    const std::vector<int64_t> order = ShuffledOrder(size, seed_, step / per_round);
    const int64_t* first = order.data() + (step % per_round) * batch;
    return at::tensor(at::ArrayRef<int64_t>(first, static_cast<size_t>(batch)), at::kLong).to(samples_.inputs.device());
  }

  absl::Status Step(int64_t step, double done) {
    const at::Tensor rows = RowsOf(step);
    optimizer_->ZeroGradients();
    PACTORY_ASSIGN_OR_RETURN(const at::Tensor output, Output(samples_.inputs.index_select(0, rows), weight_.Soft()));
    return GuardTorch("rounding", [&] {
      const at::Tensor difference = output - samples_.targets.index_select(0, rows);
      // Mean over all but the channels, sum over them.
      const double channels = static_cast<double>(output.size(layer_.channel_axis));
      at::Tensor loss = difference.square().mean() * (channels / power_);
      if (done >= kWarmStart) loss = loss + weight_.Undecided(BetaAt(done)) * config_.regularization();
      loss.backward();
      optimizer_->Step(config_.learning_rate());
      return absl::OkStatus();
    });
  }

  absl::StatusOr<double> ErrorOf(const at::Tensor& weight) {
    double error = 0;
    for (int64_t begin = 0; begin < samples_.inputs.size(0); begin += config_.batch_size()) {
      const int64_t end = std::min<int64_t>(begin + config_.batch_size(), samples_.inputs.size(0));
      PACTORY_ASSIGN_OR_RETURN(const at::Tensor output, Output(samples_.inputs.slice(0, begin, end), weight));
      error += (output - samples_.targets.slice(0, begin, end)).square().sum().item<double>();
    }
    return error;
  }

  const IsolatedLayer& layer_;
  const LayerSamples& samples_;
  RoundedWeight weight_;
  const v1::AdaRoundConfig& config_;
  const uint64_t seed_;
  std::unique_ptr<Optimizer> optimizer_;
  double power_ = 1;
};

}  // namespace

absl::Status LearnRounding(QuantizedModel& model, Executor& fp32, const QuantizationPlan& plan, const CalibrationSamples& samples,
                           const v1::AdaRoundConfig& config, uint64_t seed,
                           const std::function<absl::Status(double share)>& on_progress) {
  model.SetMode(QuantizerMode::kFrozen);
  std::set<std::string> rounded;
  double done = 0;
  for (const LayerPlan& layer : plan.layers) {
    const double share = 1.0 / static_cast<double>(plan.layers.size());
    // A weight that several layers read is rounded for the first.
    if (!layer.weight_quantizer.empty() && rounded.insert(layer.weight).second) {
      const Quantizer& quantizer = *model.Find(layer.weight_quantizer);
      at::Tensor& weight = model.parameters().at(layer.weight);
      PACTORY_ASSIGN_OR_RETURN(const IsolatedLayer alone, IsolateLayer(model, layer.node));
      PACTORY_ASSIGN_OR_RETURN(const LayerSamples pairs,
                               CollectLayerSamples(alone, model.executor(), fp32, samples, kMaxSampleBytes));
      const at::Tensor scales = quantizer.Scales(weight).to(weight.device());
      LayerRounding rounding(alone, pairs,
                             RoundedWeight(weight, scales, quantizer.spec().channel_axis, quantizer.grid().qmax), config, seed);
      PACTORY_RETURN_IF_ERROR(rounding.Learn([&](double part) {
        return on_progress ? on_progress(done + share * part) : absl::OkStatus();
      }));
      PACTORY_ASSIGN_OR_RETURN(const at::Tensor result, rounding.Result());
      c10::NoGradGuard no_grad;
      weight.copy_(result);
    }
    done += share;
  }
  return absl::OkStatus();
}

}  // namespace pactory::quant
