#include "quant/pipeline/training_end.h"

#include <map>

#include "absl/strings/match.h"
#include "absl/time/clock.h"

namespace pactory::quant {

absl::Time LastTrainingTime(const PipelineState& state) {
  // Of each stage the last time: a contract goes through them once for each rung.
  std::map<std::string, double> seconds_of;
  for (const auto& [stage, seconds] : state.meter.timing()) {
    if (!absl::StartsWith(stage, "train")) seconds_of[stage] = seconds;
  }
  double sum = 0;
  for (const auto& [stage, seconds] : seconds_of) sum += seconds;
  return state.job.deadline - absl::Seconds(5 + 2 * sum);
}

std::string TrainingEndReason(const PipelineState& state, absl::Time last_time) {
  if (state.listener.StopTrainingRequested()) return "its end was asked for (StopTraining)";
  if (absl::Now() >= state.budget_end) return "the contract's budget of seconds is spent";
  if (absl::Now() >= last_time) return "the rest of the job needs the time until its deadline";
  return "";
}

}  // namespace pactory::quant
