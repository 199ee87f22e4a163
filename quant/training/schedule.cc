#include "quant/training/schedule.h"

#include <cmath>
#include <numbers>

namespace pactory::quant {

double LearningRate(const v1::TrainingConfig& config, int64_t step) {
  const int64_t warmup = config.warmup_steps();
  if (step < warmup) return config.learning_rate() * static_cast<double>(step + 1) / static_cast<double>(warmup);
  if (config.schedule() == v1::TrainingConfig::CONSTANT) return config.learning_rate();
  if (config.schedule() == v1::TrainingConfig::STEP) {
    return config.learning_rate() * std::pow(config.schedule_factor(), static_cast<double>((step - warmup) / config.schedule_every()));
  }
  const int64_t length = config.steps() - warmup;
  if (length <= 0) return config.learning_rate();
  const double share = static_cast<double>(step - warmup) / static_cast<double>(length);
  return config.learning_rate() * 0.5 * (1 + std::cos(std::numbers::pi * share));
}

}  // namespace pactory::quant
