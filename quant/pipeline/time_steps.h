// Times training steps with and without fake quantization: what quantization-aware training costs beside plain training. Used by
// the trainer's `time`. Stateless.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "quant/pipeline/job.h"

namespace pactory::quant {

/// Which of the two models to train.
enum class TimedModels { kBoth, kFloat, kQuantized };

/// How long to measure.
struct StepTiming {
  TimedModels models = TimedModels::kBoth;
  /// A round trains both models anew, one after the other, so that what else the machine does meets both.
  int64_t rounds = 5;
  /// Steps of a model in a round; one before them warms up and does not count.
  int64_t steps = 5;
};

/// Mean seconds of a step in each round; empty for a model that was not timed.
struct StepTimes {
  std::vector<double> float_seconds;
  std::vector<double> quantized_seconds;
};

/// Times steps (forward, backward, optimizers) of the job's model on its device, quantized by its config, and of the same graph
/// without quantizers. One batch is read once: neither reading nor a teacher counts. Writes no file. Errors as of RunPipeline.
absl::StatusOr<StepTimes> TimeSteps(const QuantizationJob& job, JobListener& listener, const StepTiming& timing);

}  // namespace pactory::quant
