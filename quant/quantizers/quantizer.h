// A quantizer: the fake quantization of one tensor and what it has learned or measured. Made through the registry, owned by
// QuantizedModel. Not thread-safe.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "pactory/v1/quantization.pb.h"
#include "quant/kernels/pointwise_chain.h"
#include "quant/quantizers/grid.h"

namespace pactory::quant {

/// What a quantizer quantizes.
enum class QuantizerTarget { kActivation, kWeight };

/// What a quantizer is made of.
struct QuantizerSpec {
  /// Name of the quantizer, unique in its model.
  std::string id = {};
  v1::QuantizerMethod method = v1::QUANTIZER_METHOD_UNSPECIFIED;
  int64_t bits = 8;
  /// What is quantized.
  QuantizerTarget target = QuantizerTarget::kActivation;
  /// Activations: whether the tensor may be negative.
  Signedness signedness = Signedness::kSigned;
  /// Activations: starting range, in units of the tensor; must be above 0.
  double threshold = 1;
  /// Methods with an affine grid: lower end of the starting range, at most 0; `threshold` is then the upper end.
  double low = 0;
  /// MOVING_AVERAGE_ABS_MAX, AFFINE: decay of the moving average.
  double moving_rate = 0.9;
  /// RANGE_ABS_MAX: batches that the range looks back.
  int64_t window = 10000;
  /// Weights: axis of the output channels, or -1 for one scale.
  int64_t channel_axis = -1;
  /// Weights: FULL or REDUCED.
  v1::WeightConfig::WeightRange range = v1::WeightConfig::FULL;
};

/// A learned value of a quantizer.
struct LearnedValue {
  /// Unique in its quantizer, like `alpha`.
  std::string name;
  /// A leaf of one element, or of one per channel; lives as long as the quantizer.
  at::Tensor* tensor = nullptr;
  /// Where the value started, in every channel.
  double start = 0;
  /// The learning rate is in units of this, because ranges differ by orders of magnitude.
  double unit = 1;
  /// Whether the L2 penalty of `activations.alpha.l2` applies.
  bool penalized = false;

  /// The value now, the mean of all channels: what histories and reports tell.
  double Mean() const { return tensor->detach().mean().item<double>(); }
};

/// A learned range may shrink to this share of its start, never to 0: the grid would vanish and all gradients with it.
constexpr double kLeastLearnedShare = 1e-3;

/// Least range of a quantizer that measures, so that its scale is not 0.
constexpr double kLeastMeasuredRange = 1e-8;

/// Whether quantizers that measure follow the data or stay as they are.
enum class QuantizerMode { kTraining, kFrozen };

/// The fake quantization of one tensor.
class Quantizer {
 public:
  explicit Quantizer(QuantizerSpec spec) : spec_(std::move(spec)) {}
  virtual ~Quantizer() = default;
  Quantizer(const Quantizer&) = delete;
  Quantizer& operator=(const Quantizer&) = delete;

  const QuantizerSpec& spec() const { return spec_; }

  /// Integers of the grid; zero stands for 0.0.
  virtual Grid grid() const = 0;

  /// Takes the starting range from the weight that is to be quantized, where the method needs one; called once, before all else.
  virtual void Start(const at::Tensor& weight) {}

  /// Returns the fake-quantized tensor, differentiable.
  virtual at::Tensor Apply(const at::Tensor& x) = 0;

  /// Returns what Apply does as a stage of a chain of elementwise ops on the host, with the range as it is now; nothing where the
  /// range is elsewhere or Apply has to see its values first.
  virtual std::optional<PointwiseStage> Stage() const { return std::nullopt; }

  /// Returns the step of the grid as a float CPU tensor of one element, or one per channel of the weight `x`.
  virtual at::Tensor Scales(const at::Tensor& x) const = 0;

  /// Returns what the optimizer trains.
  virtual std::vector<LearnedValue> learned() { return {}; }

  /// Brings learned values back into their valid range; called after each optimizer step.
  virtual void Constrain() {}

  /// Returns what a checkpoint must hold, by name; the tensors may be assigned to in place.
  virtual std::map<std::string, at::Tensor> State() { return {}; }

  /// Moves the state to a device.
  virtual void To(at::Device device) {}

  void set_mode(QuantizerMode mode) { mode_ = mode; }

 protected:
  QuantizerMode mode() const { return mode_; }

 private:
  const QuantizerSpec spec_;
  QuantizerMode mode_ = QuantizerMode::kFrozen;
};

}  // namespace pactory::quant
