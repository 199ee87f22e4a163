// pactory status
#include <iostream>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "cli/invocation.h"
#include "cli/job_text.h"
#include "cli/output.h"
#include "cli/session.h"

namespace pactory {
namespace {

absl::StatusOr<ExitCode> PrintStatus(const Invocation& invocation) {
  PACTORY_ASSIGN_OR_RETURN(const auto session, Session::Open(invocation.client));
  PACTORY_ASSIGN_OR_RETURN(
      const v1::GetStatusResponse status,
      session->Call(session->status(), &v1::StatusService::Stub::GetStatus, v1::GetStatusRequest()));
  if (invocation.output == OutputFormat::kJson) {
    PrintJson(status);
    return ExitCode::kDone;
  }
  std::cout << "server   " << status.version() << ", up " << DurationText(absl::Seconds(status.uptime().seconds()))
            << ", database " << (status.database_healthy() ? "healthy" : "NOT ANSWERING") << "\nqueue    "
            << status.queue_depth() << " waiting";
  if (status.queue_depth() > 0) {
    std::cout << ", the oldest for " << DurationText(absl::Seconds(status.oldest_queued_age().seconds()));
  }
  std::cout << "\njobs     ";
  const char* separator = "";
  for (const v1::StateCount& count : status.jobs()) {
    if (count.count() == 0) continue;
    std::cout << separator << count.count() << " " << v1::Job::State_Name(count.state());
    separator = ", ";
  }
  std::cout << "\nworkers  " << status.workers_size() << "\n";
  for (const v1::Worker& worker : status.workers()) {
    std::cout << "  " << worker.display_name() << "  " << worker.capabilities().cpu_count() << " cores, "
              << SizeText(worker.capabilities().memory_bytes()) << ", "
              << (worker.capabilities().gpus().empty() ? "no GPU"
                                                       : absl::StrCat(worker.capabilities().gpus_size(), " GPU(s)"))
              << ", last heard of " << TimeText(worker.last_seen_time()) << "\n";
  }
  for (const v1::Job& job : status.running()) {
    std::cout << "  " << job.name() << "  " << ProgressText(job, ProgressStyle::kPlain) << "\n";
  }
  std::cout.flush();
  return ExitCode::kDone;
}

}  // namespace

void AddStatusCommand(CLI::App& app, Invocation& invocation) {
  CLI::App* status = app.add_subcommand("status", "Show the queue, the workers and the running jobs");
  OnCommand(status, invocation, [&invocation] { return PrintStatus(invocation); });
}

}  // namespace pactory
