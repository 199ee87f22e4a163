#include "quant/training/weight_average.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace pactory::quant {

WeightAverage::WeightAverage(double decay, std::map<std::string, at::Tensor> live)
    : decay_(decay), live_(std::move(live)), steps_(at::zeros({1}, at::kLong)) {
  for (auto& [name, tensor] : live_) {
    tensor = tensor.detach();
    averages_.emplace(name, tensor.clone());
  }
}

void WeightAverage::Update() {
  const double t = static_cast<double>(steps_.add_(1).item<int64_t>());
  const double decay = std::min(decay_, (1 + t) / (10 + t));
  for (auto& [name, average] : averages_) average.add_(live_.at(name) - average, 1 - decay);
}

void WeightAverage::Swap() {
  for (auto& [name, average] : averages_) {
    const at::Tensor value = live_.at(name).clone();
    live_.at(name).copy_(average);
    average.copy_(value);
  }
}

std::map<std::string, at::Tensor> WeightAverage::State() {
  std::map<std::string, at::Tensor> state = {{"steps", steps_}};
  for (const auto& [name, average] : averages_) state.emplace(absl::StrCat("average/", name), average);
  return state;
}

}  // namespace pactory::quant
