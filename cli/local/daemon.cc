#include "cli/local/daemon.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"

namespace pactory {
namespace {

// That of the kernel, to take down what was killed.
constexpr absl::Duration kLastThreadTime = absl::Seconds(5);

struct ProcessState {
  // In the kernel's ticks since boot.
  std::string start_time;
  // Its first thread has ended; others may still hold its files.
  bool ended = false;
};

std::optional<ProcessState> StateOf(pid_t pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/stat"));
  std::string text;
  std::getline(file, text);
  // The fields behind the program's name, which may hold spaces, in parentheses.
  const size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  const std::vector<std::string> fields = absl::StrSplit(text.substr(name_end + 1), ' ', absl::SkipEmpty());
  constexpr size_t kState = 0, kStartTime = 19;
  if (fields.size() <= kStartTime) return std::nullopt;
  return ProcessState{fields[kStartTime], fields[kState] == "Z" || fields[kState] == "X"};
}

std::string LastLines(const std::string& path) {
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) {
    lines.push_back(line);
    if (lines.size() > 5) lines.erase(lines.begin());
  }
  return absl::StrJoin(lines, " | ");
}

int PollMilliseconds(absl::Time deadline) {
  return static_cast<int>(std::max<int64_t>(0, absl::ToInt64Milliseconds(deadline - absl::Now())));
}

// Whether `fd` came to be readable in that time.
bool AwaitPollIn(int fd, absl::Duration time) {
  const absl::Time deadline = absl::Now() + time;
  pollfd readable = {fd, POLLIN, 0};
  while (poll(&readable, 1, PollMilliseconds(deadline)) < 0 && errno == EINTR) {
  }
  return (readable.revents & POLLIN) != 0;
}

}  // namespace

std::optional<Daemon::Process> Daemon::Known() const {
  std::ifstream file(pid_path_);
  pid_t pid = 0;
  std::string start_time;
  if (!(file >> pid >> start_time) || pid <= 0) return std::nullopt;
  const auto state = StateOf(pid);
  if (!state || state->start_time != start_time) return std::nullopt;
  return Process{pid, state->ended};
}

std::optional<pid_t> Daemon::Find() const {
  const auto process = Known();
  if (!process || process->ended) return std::nullopt;
  return process->pid;
}

void Daemon::AwaitLastThread() const {
  const auto process = Known();
  if (!process || !process->ended) return;
  const int fd = static_cast<int>(syscall(SYS_pidfd_open, process->pid, 0));
  if (fd < 0) return;
  AwaitPollIn(fd, kLastThreadTime);
  close(fd);
}

absl::Status Daemon::Start(const Program& program, const std::string& ready_path, absl::Duration timeout) const {
  const absl::Time deadline = absl::Now() + timeout;
  std::filesystem::remove(ready_path);
  // Watched before the start, so that the file can't appear unseen.
  const int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  const std::string folder = std::filesystem::path(ready_path).parent_path();
  if (watch < 0 || inotify_add_watch(watch, folder.c_str(), IN_CREATE | IN_MOVED_TO | IN_CLOSE_WRITE) < 0) {
    if (watch >= 0) close(watch);
    return absl::InternalError(absl::StrCat(folder, ": the folder can't be watched"));
  }
  const auto pid = StartDetached(program, log_path_);
  if (!pid.ok()) {
    close(watch);
    return pid.status();
  }
  const auto state = StateOf(*pid);
  std::ofstream(pid_path_) << *pid << " " << (state ? state->start_time : "") << "\n";
  const int process = static_cast<int>(syscall(SYS_pidfd_open, *pid, 0));
  bool ready = false, ended = false;
  while (!(ready = std::filesystem::exists(ready_path)) && !ended && absl::Now() < deadline) {
    pollfd fds[2] = {{watch, POLLIN, 0}, {process, POLLIN, 0}};
    if (poll(fds, 2, PollMilliseconds(deadline)) < 0 && errno != EINTR) break;
    ended = (fds[1].revents & POLLIN) != 0;
    char events[4096];
    while (read(watch, events, sizeof events) > 0) {
    }
  }
  close(watch);
  if (process >= 0) close(process);
  if (ready) return absl::OkStatus();
  if (ended) waitpid(*pid, nullptr, 0);
  if (!ended) {
    Signal(SIGTERM);
    AwaitEnd(absl::Seconds(5));
  }
  return absl::InternalError(absl::StrCat(name_, (ended ? " ended" : " was not ready in time"),
                                          "; the end of its log (", log_path_, "): ", LastLines(log_path_)));
}

void Daemon::Signal(int signal) const {
  if (const auto pid = Find()) kill(*pid, signal);
}

void Daemon::AwaitEnd(absl::Duration grace) const {
  const auto pid = Find();
  if (!pid) return;
  const int process = static_cast<int>(syscall(SYS_pidfd_open, *pid, 0));
  if (process < 0) return;
  if (!AwaitPollIn(process, grace)) {
    kill(*pid, SIGKILL);
    AwaitPollIn(process, kLastThreadTime);
  }
  close(process);
  std::filesystem::remove(pid_path_);
}

}  // namespace pactory
