// A job's progress for a person at a terminal, and how its end is told. Used by the quantize, replay and time subcommands. Not
// thread-safe.
#pragma once

#include <chrono>
#include <string>

#include "absl/status/status.h"
#include "quant/pipeline/job.h"

namespace pactory {

/// Writes one line per stage and every few seconds to standard error; on a terminal the line of a stage is drawn over. Asks the
/// stop signal.
class ConsoleListener : public quant::JobListener {
 public:
  ConsoleListener();

  void OnProgress(const v1::Progress& progress) override;
  bool StopRequested() const override;

  /// Ends the line that is drawn over.
  void EndLine() const;

 private:
  const bool terminal_;
  std::string stage_;
  std::chrono::steady_clock::time_point last_;
};

/// Writes why a job failed to standard error and returns the exit code. Requires: not OK.
int ReportFailure(const absl::Status& status);

}  // namespace pactory
