#include "workers/agent/child_start.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace pactory {
namespace {

// All that the child needs, made before the fork: between fork and exec of a process with threads only
// async-signal-safe functions may run, which rules out memory allocation.
struct Prepared {
  std::vector<char*> argv;
  std::vector<char*> environment;
  const char* folder;
  int stdin_fd, log_fd, event_fd, error_fd;
  rlimit memory, files;
  bool limit_memory, isolate_network;
  std::string uid_map, gid_map;
  pid_t parent;
};

std::vector<char*> Pointers(const std::vector<std::string>& words) {
  std::vector<char*> pointers;
  for (const std::string& word : words) pointers.push_back(const_cast<char*>(word.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

void WriteTo(const char* path, const char* text, size_t size) {
  const int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  if (write(fd, text, size) < 0) {
    // What these files grant is a bonus; the child runs without it.
  }
  close(fd);
}

void LeaveNetwork(const Prepared& prepared) {
  if (unshare(CLONE_NEWNET) == 0) return;
  // An ordinary user may do so inside a user namespace, in which it keeps its own id.
  if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) return;
  WriteTo("/proc/self/setgroups", "deny", 4);
  WriteTo("/proc/self/uid_map", prepared.uid_map.data(), prepared.uid_map.size());
  WriteTo("/proc/self/gid_map", prepared.gid_map.data(), prepared.gid_map.size());
}

[[noreturn]] void RunChild(const Prepared& prepared) {
  const auto give_up = [&prepared] {
    const int code = errno;
    if (write(prepared.error_fd, &code, sizeof code) < 0) _exit(126);
    _exit(127);
  };
  setpgid(0, 0);
  if (prepared.isolate_network) LeaveNetwork(prepared);
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  // After the namespaces, since a change of credentials clears it.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != prepared.parent) _exit(125);
  // The kernel short of memory takes the trainer, not the agent.
  WriteTo("/proc/self/oom_score_adj", "500", 3);
  const rlimit no_core{0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  setrlimit(RLIMIT_NOFILE, &prepared.files);
  if (prepared.limit_memory) setrlimit(RLIMIT_DATA, &prepared.memory);

  // Moved out of the way of 0 to 3 first, so that no dup2 below closes a descriptor still needed.
  const int in = fcntl(prepared.stdin_fd, F_DUPFD_CLOEXEC, 10);
  const int log = fcntl(prepared.log_fd, F_DUPFD_CLOEXEC, 10);
  const int events = fcntl(prepared.event_fd, F_DUPFD_CLOEXEC, 10);
  const int error = fcntl(prepared.error_fd, F_DUPFD_CLOEXEC, 10);
  if (in < 0 || log < 0 || events < 0 || error < 0 || dup2(in, 0) < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0 ||
      dup2(events, 3) < 0) {
    give_up();
  }
  for (int signal = 1; signal < NSIG; ++signal) {
    if (signal != SIGKILL && signal != SIGSTOP) ::signal(signal, SIG_DFL);
  }
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  if (chdir(prepared.folder) != 0) give_up();
  // Sockets and files of other threads that lack the close-on-exec flag.
  close_range(4, ~0U, CLOSE_RANGE_CLOEXEC);
  execve(prepared.argv[0], prepared.argv.data(), prepared.environment.data());
  give_up();
  _exit(127);
}

}  // namespace

absl::StatusOr<pid_t> StartChild(const ChildSpec& spec) {
  int error_pipe[2];
  if (pipe2(error_pipe, O_CLOEXEC) != 0) {
    return absl::InternalError(absl::StrCat("no pipe for a child: ", std::strerror(errno)));
  }
  const auto files = static_cast<rlim_t>(spec.open_files);
  const auto memory = static_cast<rlim_t>(spec.memory_limit_bytes);
  Prepared prepared{.argv = Pointers(spec.argv),
                    .environment = Pointers(spec.environment),
                    .folder = spec.working_folder.c_str(),
                    .stdin_fd = spec.stdin_fd,
                    .log_fd = spec.log_fd,
                    .event_fd = spec.event_fd,
                    .error_fd = error_pipe[1],
                    .memory = {memory, memory},
                    .files = {files, files},
                    .limit_memory = spec.memory_limit_bytes > 0,
                    .isolate_network = spec.network == Network::kNone,
                    .uid_map = absl::StrCat(getuid(), " ", getuid(), " 1"),
                    .gid_map = absl::StrCat(getgid(), " ", getgid(), " 1"),
                    .parent = getpid()};
  const pid_t child = fork();
  if (child == 0) RunChild(prepared);
  const int fork_error = errno;
  close(error_pipe[1]);
  int code = 0;
  const bool failed = child > 0 && read(error_pipe[0], &code, sizeof code) == sizeof code;
  close(error_pipe[0]);
  if (child < 0) return absl::InternalError(absl::StrCat("no process for a child: ", std::strerror(fork_error)));
  // Set on both sides, so that a kill of the group right after this call finds it.
  setpgid(child, child);
  if (failed) {
    waitpid(child, nullptr, 0);
    const std::string message =
        absl::StrCat("the program can't be executed: ", spec.argv[0], ": ", std::strerror(code));
    return code == ENOENT ? absl::NotFoundError(message) : absl::InternalError(message);
  }
  return child;
}

}  // namespace pactory
