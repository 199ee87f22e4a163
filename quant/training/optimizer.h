// Adam, AdamW and SGD over groups of parameters. Used by the training loop. Not thread-safe.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "pactory/v1/quantization.pb.h"

namespace pactory::quant {

/// Parameters that are trained alike.
struct ParameterGroup {
  /// Leaves by name; the names are those of the checkpoint.
  std::map<std::string, at::Tensor> parameters = {};
  /// Factor on the step's learning rate.
  double rate_multiplier = 1;
  /// Size that the parameters have; a second factor on the learning rate, but not on the decay.
  double unit = 1;
  /// Penalty added to the gradient: l2 * parameter.
  double l2 = 0;
  /// The optimizer's own weight decay; OptimizerSpec::kind says how it works.
  double weight_decay = 0;
};

/// Which optimizer.
struct OptimizerSpec {
  /// ADAM: Kingma and Ba 2015 with betas 0.9 and 0.999, epsilon 1e-8; weight decay is added to the gradient.
  /// ADAMW: the same, but weight decay takes its share of the parameter directly (decoupled; Loshchilov and Hutter 2019).
  /// SGD: with momentum; weight decay is added to the gradient.
  v1::TrainingConfig::Optimizer kind = v1::TrainingConfig::ADAMW;
  /// SGD.
  double momentum = 0;
  enum class Momentum { kHeavyBall, kNesterov } form = Momentum::kHeavyBall;
};

/// Changes parameters by their gradients.
class Optimizer {
 public:
  virtual ~Optimizer() = default;

  /// Makes one step at a learning rate; parameters without a gradient stay.
  void Step(double learning_rate);

  /// Leaves a parameter as it is from now on.
  void Hold(const std::string& name) { held_.insert(name); }

  /// Drops all gradients.
  void ZeroGradients();

  /// Returns the global L2 norm of all gradients; not finite where one of them is.
  double GradientNorm() const;

  /// Multiplies all gradients.
  void ScaleGradients(double factor);

  /// Returns what a checkpoint must hold, by name; the tensors may be assigned to in place.
  virtual std::map<std::string, at::Tensor> State() = 0;

 protected:
  explicit Optimizer(std::vector<ParameterGroup> groups) : groups_(std::move(groups)) {}

  // Moves one parameter; `gradient` has the penalties in it.
  virtual void Update(const std::string& name, at::Tensor& parameter, const at::Tensor& gradient, double rate) = 0;
  // Called before the first Update of a step.
  virtual void BeginStep() {}
  virtual bool decouples_weight_decay() const { return false; }

  std::vector<ParameterGroup> groups_;

 private:
  std::set<std::string> held_;
};

/// Returns what a complete config asks for the weights.
OptimizerSpec WeightOptimizer(const v1::TrainingConfig& config);

/// Returns what a complete config asks for the learned ranges: the weights' where it says nothing.
OptimizerSpec RangeOptimizer(const v1::TrainingConfig& config, const v1::AlphaConfig& alpha);

/// Makes an optimizer.
std::unique_ptr<Optimizer> MakeOptimizer(const OptimizerSpec& spec, std::vector<ParameterGroup> groups);

}  // namespace pactory::quant
