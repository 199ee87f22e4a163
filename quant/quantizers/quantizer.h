// A quantizer: the fake quantization of one tensor and what it has learned or measured. Made through the registry, owned by
// QuantizedModel. Not thread-safe.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "pactory/v1/quantization.pb.h"
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
  /// MOVING_AVERAGE_ABS_MAX: decay of the moving average.
  double moving_rate = 0.9;
  /// Weights: axis of the output channels, or -1 for one scale.
  int64_t channel_axis = -1;
  /// Weights: FULL or REDUCED.
  v1::WeightConfig::WeightRange range = v1::WeightConfig::FULL;
};

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

  /// Returns the fake-quantized tensor, differentiable.
  virtual at::Tensor Apply(const at::Tensor& x) = 0;

  /// Returns the step of the grid as a float CPU tensor of one element, or one per channel of the weight `x`.
  virtual at::Tensor Scales(const at::Tensor& x) const = 0;

  /// Returns the learned clipping value, a leaf of one element, or null.
  virtual at::Tensor* alpha() { return nullptr; }

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
