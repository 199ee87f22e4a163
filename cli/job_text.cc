#include "cli/job_text.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "cli/output.h"

namespace pactory {

bool IsFinal(v1::Job::State state) {
  return state == v1::Job::SUCCEEDED || state == v1::Job::FAILED || state == v1::Job::CANCELLED;
}

std::string ProgressText(const v1::Job& job, ProgressStyle style) {
  if (job.state() == v1::Job::PENDING) {
    if (job.lost_attempts() > 0)
      return absl::StrCat("queued again, a worker was lost; attempt ", job.attempt() + 1, " follows");
    if (job.failed_attempts() > 0)
      return absl::StrCat("queued again after a failed attempt; attempt ", job.attempt() + 1, " follows");
    std::string text = job.queue_position() > 0 ? absl::StrCat("queued, ", job.queue_position(), " job(s) before it")
                                                : "queued, waiting for a worker";
    if (job.has_estimated_start_time()) {
      absl::StrAppend(&text, ", may start at ", TimeText(job.estimated_start_time()));
    }
    return text;
  }
  if (job.state() == v1::Job::CANCELLING) return "cancelling, waiting for the worker";
  const v1::Progress& progress = job.progress();
  std::string text = progress.stage().empty() ? "starting" : progress.stage();
  if (job.stop_training_requested() && progress.total_steps() > 0) absl::StrAppend(&text, ", to be ended now,");
  if (progress.total_steps() > 0) absl::StrAppend(&text, " ", progress.step(), "/", progress.total_steps());
  if (style == ProgressStyle::kTerminal) absl::StrAppend(&text, " ", Bar(progress.fraction(), 24));
  absl::StrAppendFormat(&text, " %3.0f%%", progress.fraction() * 100);
  if (progress.step() > 0) absl::StrAppendFormat(&text, "  loss %.4f", progress.loss());
  if (progress.metric() > 0) absl::StrAppendFormat(&text, "  accuracy %.2f%%", progress.metric() * 100);
  if (progress.alpha_max() > 0)
    absl::StrAppendFormat(&text, "  alpha %.3g..%.3g", progress.alpha_min(), progress.alpha_max());
  if (progress.eta_seconds() > 0) absl::StrAppend(&text, "  ETA ", DurationText(absl::Seconds(progress.eta_seconds())));
  return text;
}

std::string EndText(const v1::Job& job) {
  std::string text = absl::StrCat(job.name(), ": ", v1::Job::State_Name(job.state()));
  if (job.state() == v1::Job::SUCCEEDED) {
    const absl::Duration took = absl::Seconds(job.end_time().seconds() - job.start_time().seconds());
    absl::StrAppend(&text, " in ", DurationText(took));
    if (job.attempt() > 1) absl::StrAppend(&text, ", attempt ", job.attempt());
  }
  if (job.state() == v1::Job::FAILED) absl::StrAppend(&text, ": ", job.error().reason(), ": ", job.error().message());
  return text;
}

ExitCode ExitCodeOfJob(const v1::Job& job) {
  return job.state() == v1::Job::SUCCEEDED ? ExitCode::kDone : ExitCode::kJobFailed;
}

}  // namespace pactory
