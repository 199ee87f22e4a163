// Adam and SGD over groups of parameters. Used by the training loop. Not thread-safe.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "pactory/v1/quantization.pb.h"

namespace pactory::quant {

/// Parameters that are trained alike.
struct ParameterGroup {
  /// Leaves by name; the names are those of the checkpoint.
  std::map<std::string, at::Tensor> parameters = {};
  /// Factor on the step's learning rate.
  double rate_multiplier = 1;
  /// Penalty added to the gradient: l2 * parameter.
  double l2 = 0;
  /// Share of the parameter taken away per step and unit of learning rate (decoupled from the gradient).
  double weight_decay = 0;
};

/// Changes parameters by their gradients.
class Optimizer {
 public:
  virtual ~Optimizer() = default;

  /// Makes one step at a learning rate; parameters without a gradient stay.
  void Step(double learning_rate);

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

  // Moves one parameter; `gradient` has the penalty in it.
  virtual void Update(const std::string& name, at::Tensor& parameter, const at::Tensor& gradient, double rate) = 0;
  // Called before the first Update of a step.
  virtual void BeginStep() {}

  std::vector<ParameterGroup> groups_;
};

/// Makes the configured optimizer: ADAM (Kingma and Ba 2015; betas 0.9 and 0.999, epsilon 1e-8) or SGD with momentum.
std::unique_ptr<Optimizer> MakeOptimizer(const v1::TrainingConfig& config, std::vector<ParameterGroup> groups);

}  // namespace pactory::quant
