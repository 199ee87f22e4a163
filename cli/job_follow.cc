#include "cli/job_follow.h"

#include <signal.h>
#include <unistd.h>

#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "cli/job_text.h"
#include "client/backoff.h"

namespace pactory {
namespace {

// What an interrupt prints: prepared beforehand, as a signal handler may not allocate.
char interrupt_text[300];

void OnInterrupt(int) {
  if (write(STDERR_FILENO, interrupt_text, strlen(interrupt_text)) < 0) _exit(131);
  _exit(130);
}

void ExplainInterrupt(const std::string& job) {
  const std::string text = absl::StrCat("\npactory: ", job, " goes on; see it with `pactory jobs watch ", job,
                                        "`, end it with `pactory jobs cancel ", job, "`\n");
  strncpy(interrupt_text, text.c_str(), sizeof interrupt_text - 1);
  signal(SIGINT, OnInterrupt);
}

// Metrics come while they happen, the job's own progress with a heartbeat only.
v1::Job WithNewestMetrics(const v1::WatchJobResponse& event) {
  v1::Job job = event.job();
  v1::Progress& progress = *job.mutable_progress();
  if (progress.stage() != "train") return job;
  for (const v1::Metric& metric : event.metrics()) {
    if (metric.name() != "train/loss" || metric.step() <= progress.step()) continue;
    progress.set_step(metric.step());
    progress.set_loss(metric.value());
  }
  return job;
}

}  // namespace

absl::StatusOr<v1::Job> WatchToEnd(Session& session, const std::string& job,
                                   const std::function<void(const v1::WatchJobResponse&)>& on_event) {
  v1::WatchJobRequest request;
  request.set_name(job);
  Backoff backoff;
  absl::Time last_event = absl::Now();
  v1::Job newest;
  while (true) {
    grpc::ClientContext context;
    PrepareCall(session.token(), absl::InfiniteDuration(), context);
    auto stream = session.jobs().WatchJob(&context, request);
    v1::WatchJobResponse response;
    while (stream->Read(&response)) {
      last_event = absl::Now();
      backoff.Reset();
      request.set_after_sequence(std::max(request.after_sequence(), response.sequence()));
      newest = response.job();
      on_event(response);
    }
    const absl::Status status = session.Noted(FromGrpcStatus(stream->Finish()));
    if (IsFinal(newest.state())) return newest;
    // A stream that ended in order before the job did was cut by the server, to spread its load.
    if (!status.ok() && !IsTransient(status)) return status;
    if (!status.ok() && absl::Now() - last_event > session.patience()) return status;
    session.cancellation().WaitFor(backoff.Next());
  }
}

absl::StatusOr<v1::Job> FollowJob(Session& session, const std::string& job) {
  ExplainInterrupt(job);
  ProgressLine line;
  std::string stage;
  const auto show = [&](const v1::WatchJobResponse& event) {
    const std::string text = ProgressText(WithNewestMetrics(event), line.style());
    // A change of stage is worth a line of its own where lines are not rewritten.
    const std::string now =
        absl::StrCat(event.job().state(), " ", event.job().attempt(), " ", event.job().progress().stage());
    if (now != stage && line.style() == ProgressStyle::kPlain && !IsFinal(event.job().state())) {
      line.Keep(text);
    } else {
      line.Update(text);
    }
    stage = now;
  };
  PACTORY_ASSIGN_OR_RETURN(const v1::Job end, WatchToEnd(session, job, show));
  line.Keep(EndText(end));
  signal(SIGINT, SIG_DFL);
  return end;
}

}  // namespace pactory
