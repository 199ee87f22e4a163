// An exponential moving average of trained values, which can stand in their place. Used by the training loop. Not thread-safe.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>

namespace pactory::quant {

/// The averages of some tensors: a += (1 - d) * (value - a) with d = min(decay, (1 + t) / (10 + t)) at step t, so that the start is
/// soon forgotten.
class WeightAverage {
 public:
  /// Borrows the storage of `live`; the averages start as copies. `decay` in [0, 1).
  WeightAverage(double decay, std::map<std::string, at::Tensor> live);

  /// Takes in the present values.
  void Update();

  /// Exchanges values and averages; a second call restores them to the bit.
  void Swap();

  /// Returns what a checkpoint must hold, by name; the tensors may be assigned to in place.
  std::map<std::string, at::Tensor> State();

 private:
  const double decay_;
  std::map<std::string, at::Tensor> live_;
  std::map<std::string, at::Tensor> averages_;
  at::Tensor steps_;
};

}  // namespace pactory::quant
