#include "workers/agent/capabilities.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <thread>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

extern char** environ;

namespace pactory {
namespace {

absl::Status Unusable(const std::string& trainer, absl::string_view why) {
  return absl::FailedPreconditionError(
      absl::StrCat("trainer: `", trainer, " ops --json` must print what it can do: ", why));
}

absl::StatusOr<std::string> OutputOf(const std::string& trainer) {
  int pipe_fds[2];
  if (pipe2(pipe_fds, O_CLOEXEC) != 0) return absl::InternalError("no pipe for the trainer");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, pipe_fds[1], 1);
  std::string words[] = {trainer, "ops", "--json"};
  char* argv[] = {words[0].data(), words[1].data(), words[2].data(), nullptr};
  pid_t child = -1;
  const int code = posix_spawn(&child, trainer.c_str(), &actions, nullptr, argv, environ);
  posix_spawn_file_actions_destroy(&actions);
  close(pipe_fds[1]);
  std::string output;
  char bytes[4096];
  ssize_t count;
  while (code == 0 && (count = read(pipe_fds[0], bytes, sizeof bytes)) != 0) {
    if (count > 0) output.append(bytes, count);
    if (count < 0 && errno != EINTR) break;
  }
  close(pipe_fds[0]);
  if (code != 0) return Unusable(trainer, std::strerror(code));
  int status = 0;
  waitpid(child, &status, 0);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) return Unusable(trainer, absl::StrCat("status=", status));
  return output;
}

}  // namespace

absl::StatusOr<v1::WorkerCapabilities> ParseCapabilities(absl::string_view json) {
  const auto document = nlohmann::json::parse(json.begin(), json.end(), nullptr, /*allow_exceptions=*/false);
  if (!document.is_object() || !document.contains("ops") || !document["ops"].is_array()) {
    return absl::InvalidArgumentError("must be a JSON object with `ops`");
  }
  v1::WorkerCapabilities capabilities;
  if (document.contains("version") && document["version"].is_string()) {
    capabilities.set_version(document["version"].get<std::string>());
  }
  for (const auto& op : document["ops"]) {
    if (op.is_string()) capabilities.add_ops(op.get<std::string>());
  }
  if (document.contains("gpus") && document["gpus"].is_array()) {
    for (const auto& gpu : document["gpus"]) {
      if (gpu.is_string()) capabilities.add_gpus(gpu.get<std::string>());
    }
  }
  if (document.contains("gpu_memory_bytes") && document["gpu_memory_bytes"].is_number_integer()) {
    capabilities.set_job_memory_gib(static_cast<int>(document["gpu_memory_bytes"].get<int64_t>() >> 30));
  }
  return capabilities;
}

absl::StatusOr<v1::WorkerCapabilities> FindCapabilities(const std::string& trainer) {
  PACTORY_ASSIGN_OR_RETURN(const std::string output, OutputOf(trainer));
  auto capabilities = ParseCapabilities(output);
  if (!capabilities.ok()) return Unusable(trainer, std::string(capabilities.status().message()));
  capabilities->set_cpu_count(static_cast<int>(std::thread::hardware_concurrency()));
  capabilities->set_memory_bytes(sysconf(_SC_PHYS_PAGES) * static_cast<int64_t>(sysconf(_SC_PAGESIZE)));
  if (capabilities->gpus().empty()) capabilities->set_job_memory_gib(static_cast<int>(capabilities->memory_bytes() >> 30));
  return capabilities;
}

}  // namespace pactory
