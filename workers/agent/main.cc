// pactory-worker: the agent on a GPU (or CPU) host. Exit codes: 0 stopped, 2 bad flags or refused by the server.
#include <malloc.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iostream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "workers/agent/agent.h"
#include "workers/agent/capabilities.h"
#include "workers/agent/job_folder.h"
#include "workers/agent/options.h"
#include "workers/agent/work_folder.h"

namespace pactory {
namespace {

constexpr absl::Duration kShutdownTime = absl::Milliseconds(4800);

std::string DisplayName() {
  char host[256] = "";
  gethostname(host, sizeof host - 1);
  return absl::StrCat(host, ":", getpid());
}

void WriteReadyFile(const std::string& path) {
  if (path.empty()) return;
  // Renamed into place, so that whoever waits for the file never sees half of it.
  const std::string unfinished = path + ".new";
  std::ofstream(unfinished) << getpid() << "\n";
  std::error_code error;
  std::filesystem::rename(unfinished, path, error);
  if (error) spdlog::error("the ready file can't be written: {}: {}", path, error.message());
}

absl::Status RunAgent(const AgentOptions& options, const sigset_t& signals) {
  PACTORY_RETURN_IF_ERROR(InitLogging(options.log));
  PACTORY_ASSIGN_OR_RETURN(const WorkFolder folder, WorkFolder::Open(options.work_folder));
  PACTORY_RETURN_IF_ERROR(RemoveLeftoverJobFolders(folder.path()));
  PACTORY_ASSIGN_OR_RETURN(const auto cache, BlobCache::Open(std::filesystem::absolute(options.cache_folder).string(),
                                                             options.cache_limit_bytes));
  PACTORY_ASSIGN_OR_RETURN(const auto channel, OpenChannel(options.server));
  ServerConnection server(channel, options.server.token);
  AgentSettings settings;
  settings.worker_id = folder.worker_id();
  settings.worker.set_display_name(DisplayName());
  PACTORY_ASSIGN_OR_RETURN(*settings.worker.mutable_capabilities(), FindCapabilities(options.trainer));
  if (options.job_memory_gib > 0) settings.worker.mutable_capabilities()->set_job_memory_gib(options.job_memory_gib);
  settings.slots = options.slots;
  settings.run.trainer_command = {options.trainer, "job"};
  settings.run.runtime_check_command = options.runtime_check_command;
  settings.run.work_folder = folder.path();
  settings.run.memory_limit_bytes = options.memory_limit_bytes;
  settings.on_registered = [&options] { WriteReadyFile(options.ready_file); };
  Agent agent(server, *cache, std::move(settings));

  Cancellation done;
  std::thread signal_thread([&] {
    int signal = 0;
    sigwait(&signals, &signal);
    if (done.cancelled()) return;
    spdlog::info("signal {}: stopping", signal);
    agent.Stop();
    if (done.WaitFor(kShutdownTime)) return;
    // The trainers die with this process, and the server takes the jobs back when their leases end.
    spdlog::warn("the server or a trainer is too slow: leaving now");
    _exit(0);
  });
  const absl::Status status = agent.Run();
  done.Cancel();
  // Wakes the thread where no signal came.
  pthread_kill(signal_thread.native_handle(), SIGTERM);
  signal_thread.join();
  return status;
}

}  // namespace
}  // namespace pactory

int main(int argc, char** argv) {
  // One heap for all threads. Each job has threads of its own; with a heap for each of them, what is free in one can't be had by another,
  // and the process grows with every job that meets an empty one.
  mallopt(M_ARENA_MAX, 1);
  // Before any thread starts, so that the one waiting for them is the only one they reach.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);

  const auto options = pactory::ParseAgentOptions(argc, argv);
  if (absl::IsCancelled(options.status())) return 0;
  const absl::Status status = options.ok() ? pactory::RunAgent(*options, signals) : options.status();
  if (status.ok()) return 0;
  std::cerr << "pactory-worker: " << status.message() << "\n";
  return 2;
}
