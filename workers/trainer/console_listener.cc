#include "workers/trainer/console_listener.h"

#include <unistd.h>

#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "workers/trainer/commands.h"
#include "workers/trainer/job_error.h"
#include "workers/trainer/stop_signal.h"

namespace pactory {

ConsoleListener::ConsoleListener() : terminal_(isatty(STDERR_FILENO) != 0) {}

void ConsoleListener::OnProgress(const v1::Progress& progress) {
  const auto now = std::chrono::steady_clock::now();
  const bool new_stage = progress.stage() != stage_;
  const auto interval = terminal_ ? std::chrono::milliseconds(250) : std::chrono::milliseconds(5000);
  if (!new_stage && now - last_ < interval) return;
  last_ = now;
  if (terminal_ && new_stage && !stage_.empty()) std::cerr << "\n";
  stage_ = progress.stage();
  std::string line = absl::StrFormat("%3.0f %%  %s", 100 * progress.fraction(), progress.stage());
  if (progress.total_steps() > 0) {
    absl::StrAppendFormat(&line, "  step %d/%d  loss %.4f", progress.step(), progress.total_steps(), progress.loss());
    if (progress.alpha_max() > 0) absl::StrAppendFormat(&line, "  alpha %.3g..%.3g", progress.alpha_min(), progress.alpha_max());
  }
  if (progress.metric() >= 0) absl::StrAppendFormat(&line, "  accuracy %.2f %%", 100 * progress.metric());
  if (progress.eta_seconds() >= 1) absl::StrAppendFormat(&line, "  %.0f s left", progress.eta_seconds());
  if (terminal_) {
    std::cerr << "\r\x1b[K" << line << std::flush;
  } else {
    std::cerr << line << "\n";
  }
}

bool ConsoleListener::StopRequested() const { return StopSignalled(); }

void ConsoleListener::EndLine() const {
  if (terminal_ && !stage_.empty()) std::cerr << "\n";
}

int ReportFailure(const absl::Status& status) {
  if (absl::IsCancelled(status)) return kExitTerminated;
  const v1::JobError error = ToJobError(status);
  std::cerr << error.reason() << ": " << error.message() << "\n";
  const bool refused = error.reason() == "UNSUPPORTED_OP" || error.reason() == "BAD_MODEL";
  return refused ? kExitRefused : kExitFailed;
}

}  // namespace pactory
