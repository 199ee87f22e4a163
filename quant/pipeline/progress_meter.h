// Turns stages and steps into progress messages with an estimate of the time left. Used by the pipeline. Not thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "pactory/v1/job.pb.h"
#include "quant/pipeline/job.h"

namespace pactory::quant {

/// The progress of one job.
class ProgressMeter {
 public:
  /// Borrows `listener`.
  explicit ProgressMeter(JobListener& listener);

  /// Adds a stage to come with the seconds it may take; a guess is enough, it is replaced by measurement as stages end.
  void Plan(absl::string_view stage, double seconds);
  /// Replaces the guess of a stage that has not ended.
  void Estimate(absl::string_view stage, double seconds);

  /// Starts a planned stage, ending the one before. CANCELLED where the job is to end.
  absl::Status Start(absl::string_view stage);
  /// Tells how much of the present stage is done, in [0, 1]; messages go out at most four times a second.
  void Show(double share);
  /// CANCELLED where the job is to end.
  absl::Status CheckStop() const;
  /// Both.
  absl::Status Advance(double share);
  /// Ends the last stage.
  void Finish();

  /// Fields that stages fill in for people: step, total_steps, loss, metric, alpha_min, alpha_max.
  v1::Progress& details() { return progress_; }

  /// Seconds that each ended stage took, in order.
  const std::vector<std::pair<std::string, double>>& timing() const { return timing_; }
  /// Seconds since the present stage started.
  double StageSeconds() const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Stage {
    std::string name;
    double seconds;
  };

  void EndStage();
  void Send();

  JobListener& listener_;
  std::vector<Stage> stages_;
  size_t present_ = 0;
  bool started_ = false;
  double share_ = 0;
  double elapsed_ = 0;
  Clock::time_point stage_start_;
  Clock::time_point last_sent_;
  std::vector<std::pair<std::string, double>> timing_;
  v1::Progress progress_;
};

}  // namespace pactory::quant
