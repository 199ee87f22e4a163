#include "quant/training/optimizer.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cmath>

#include "absl/strings/str_cat.h"

namespace pactory::quant {
namespace {

constexpr double kBeta1 = 0.9;
constexpr double kBeta2 = 0.999;
constexpr double kEpsilon = 1e-8;

// One zero tensor per parameter, by name.
std::map<std::string, at::Tensor> ZerosLike(const std::vector<ParameterGroup>& groups) {
  std::map<std::string, at::Tensor> zeros;
  for (const ParameterGroup& group : groups) {
    for (const auto& [name, parameter] : group.parameters) zeros.emplace(name, at::zeros_like(parameter.detach()));
  }
  return zeros;
}

void AddPrefixed(std::map<std::string, at::Tensor>& to, const char* prefix, const std::map<std::string, at::Tensor>& from) {
  for (const auto& [name, tensor] : from) to.emplace(absl::StrCat(prefix, name), tensor);
}

// m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; p -= rate * (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
class Adam : public Optimizer {
 public:
  enum class Decay { kInGradient, kDecoupled };

  Adam(std::vector<ParameterGroup> groups, Decay decay)
      : Optimizer(std::move(groups)),
        decay_(decay),
        first_(ZerosLike(groups_)),
        second_(ZerosLike(groups_)),
        steps_(at::zeros({1}, at::kLong)) {}

  std::map<std::string, at::Tensor> State() override {
    std::map<std::string, at::Tensor> state = {{"steps", steps_}};
    AddPrefixed(state, "first/", first_);
    AddPrefixed(state, "second/", second_);
    return state;
  }

 protected:
  void BeginStep() override {
    steps_.add_(1);
    const double t = static_cast<double>(steps_.item<int64_t>());
    first_correction_ = 1 - std::pow(kBeta1, t);
    second_correction_ = 1 - std::pow(kBeta2, t);
  }

  void Update(const std::string& name, at::Tensor& parameter, const at::Tensor& gradient, double rate) override {
    at::Tensor& first = first_.at(name);
    at::Tensor& second = second_.at(name);
    first.mul_(kBeta1).add_(gradient, 1 - kBeta1);
    second.mul_(kBeta2).addcmul_(gradient, gradient, 1 - kBeta2);
    const at::Tensor divisor = second.sqrt().div_(std::sqrt(second_correction_)).add_(kEpsilon);
    parameter.addcdiv_(first, divisor, -rate / first_correction_);
  }

  bool decouples_weight_decay() const override { return decay_ == Decay::kDecoupled; }

 private:
  const Decay decay_;
  std::map<std::string, at::Tensor> first_;
  std::map<std::string, at::Tensor> second_;
  at::Tensor steps_;
  double first_correction_ = 1;
  double second_correction_ = 1;
};

// v = momentum * v + g; p -= rate * v, or for Nesterov's form p -= rate * (g + momentum * v)
class Sgd : public Optimizer {
 public:
  Sgd(std::vector<ParameterGroup> groups, double momentum, OptimizerSpec::Momentum form)
      : Optimizer(std::move(groups)), momentum_(momentum), form_(form), velocity_(ZerosLike(groups_)) {}

  std::map<std::string, at::Tensor> State() override {
    std::map<std::string, at::Tensor> state;
    AddPrefixed(state, "velocity/", velocity_);
    return state;
  }

 protected:
  void Update(const std::string& name, at::Tensor& parameter, const at::Tensor& gradient, double rate) override {
    at::Tensor& velocity = velocity_.at(name).mul_(momentum_).add_(gradient);
    const bool nesterov = form_ == OptimizerSpec::Momentum::kNesterov;
    parameter.add_(nesterov ? gradient.add(velocity, momentum_) : velocity, -rate);
  }

 private:
  const double momentum_;
  const OptimizerSpec::Momentum form_;
  std::map<std::string, at::Tensor> velocity_;
};

}  // namespace

void Optimizer::Step(double learning_rate) {
  c10::NoGradGuard no_grad;
  BeginStep();
  for (ParameterGroup& group : groups_) {
    const double rate = learning_rate * group.rate_multiplier;
    const double penalty = group.l2 + (decouples_weight_decay() ? 0 : group.weight_decay);
    const double shrinkage = decouples_weight_decay() ? rate * group.weight_decay : 0;
    for (auto& [name, parameter] : group.parameters) {
      if (!parameter.grad().defined() || held_.contains(name)) continue;
      at::Tensor gradient = parameter.grad();
      if (penalty != 0) gradient = gradient.add(parameter, penalty);
      if (shrinkage != 0) parameter.mul_(1 - shrinkage);
      Update(name, parameter, gradient, rate * group.unit);
    }
  }
}

void Optimizer::ZeroGradients() {
  for (ParameterGroup& group : groups_) {
    for (auto& [name, parameter] : group.parameters) parameter.mutable_grad() = at::Tensor();
  }
}

double Optimizer::GradientNorm() const {
  at::Tensor total;
  for (const ParameterGroup& group : groups_) {
    for (const auto& [name, parameter] : group.parameters) {
      if (!parameter.grad().defined()) continue;
      const at::Tensor square = parameter.grad().to(at::kDouble).square().sum();
      total = total.defined() ? total.add(square) : square;
    }
  }
  return total.defined() ? std::sqrt(total.item<double>()) : 0;
}

void Optimizer::ScaleGradients(double factor) {
  c10::NoGradGuard no_grad;
  for (ParameterGroup& group : groups_) {
    for (auto& [name, parameter] : group.parameters) {
      if (parameter.grad().defined()) parameter.mutable_grad().mul_(factor);
    }
  }
}

OptimizerSpec WeightOptimizer(const v1::TrainingConfig& config) {
  return {.kind = config.optimizer(),
          .momentum = config.momentum(),
          .form = config.nesterov() ? OptimizerSpec::Momentum::kNesterov : OptimizerSpec::Momentum::kHeavyBall};
}

OptimizerSpec RangeOptimizer(const v1::TrainingConfig& config, const v1::AlphaConfig& alpha) {
  OptimizerSpec spec = WeightOptimizer(config);
  if (alpha.optimizer() != v1::TrainingConfig::OPTIMIZER_UNSPECIFIED) spec.kind = alpha.optimizer();
  if (alpha.has_momentum()) spec.momentum = alpha.momentum();
  return spec;
}

std::unique_ptr<Optimizer> MakeOptimizer(const OptimizerSpec& spec, std::vector<ParameterGroup> groups) {
  switch (spec.kind) {
    case v1::TrainingConfig::SGD:
      return std::make_unique<Sgd>(std::move(groups), spec.momentum, spec.form);
    case v1::TrainingConfig::ADAM:
      return std::make_unique<Adam>(std::move(groups), Adam::Decay::kInGradient);
    default:
      return std::make_unique<Adam>(std::move(groups), Adam::Decay::kDecoupled);
  }
}

}  // namespace pactory::quant
