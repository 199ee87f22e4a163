#include "quant/pipeline/child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace pactory::quant {
namespace {

constexpr size_t kKeptOutput = 4096;
constexpr int kPollMilliseconds = 200;
constexpr int kExecFailed = 127;

std::string Describe(int status) {
  if (WIFSIGNALED(status)) return absl::StrCat("killed by signal ", WTERMSIG(status), " (", strsignal(WTERMSIG(status)), ")");
  return absl::StrCat("exit status ", WEXITSTATUS(status));
}

[[noreturn]] void RunInChild(const std::vector<char*>& arguments, int output) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  // The trainer's own handling of these is not for its children.
  signal(SIGTERM, SIG_DFL);
  signal(SIGINT, SIG_DFL);
  signal(SIGPIPE, SIG_DFL);
  const int empty = open("/dev/null", O_RDONLY);
  dup2(empty, STDIN_FILENO);
  dup2(output, STDOUT_FILENO);
  dup2(output, STDERR_FILENO);
  for (int fd = STDERR_FILENO + 1; fd < 256; ++fd) close(fd);
  execvp(arguments[0], arguments.data());
  _exit(kExecFailed);
}

}  // namespace

absl::Status RunChild(const std::vector<std::string>& arguments, const std::function<bool()>& stop,
                      std::optional<int> refusal) {
  std::vector<char*> raw;
  for (const std::string& argument : arguments) raw.push_back(const_cast<char*>(argument.c_str()));
  raw.push_back(nullptr);
  int pipe_ends[2];
  if (pipe2(pipe_ends, O_CLOEXEC) != 0) return absl::ErrnoToStatus(errno, "pipe can't be made");
  const pid_t child = fork();
  if (child < 0) {
    const int error = errno;
    close(pipe_ends[0]);
    close(pipe_ends[1]);
    return absl::ErrnoToStatus(error, absl::StrCat("process can't be started: ", arguments[0]));
  }
  if (child == 0) RunInChild(raw, pipe_ends[1]);
  close(pipe_ends[1]);
  std::string output;
  bool stopped = false;
  // The pipe's end is the event of the child's end: nothing it starts outlives it in this use.
  for (bool open_end = true; open_end;) {
    pollfd entry{.fd = pipe_ends[0], .events = POLLIN, .revents = 0};
    const int ready = poll(&entry, 1, kPollMilliseconds);
    if (!stopped && stop && stop()) {
      stopped = true;
      kill(child, SIGKILL);
    }
    if (ready <= 0) continue;
    char buffer[4096];
    const ssize_t size = read(pipe_ends[0], buffer, sizeof(buffer));
    if (size < 0 && errno == EINTR) continue;
    open_end = size > 0;
    if (size > 0) output.append(buffer, static_cast<size_t>(size));
    if (output.size() > 2 * kKeptOutput) output.erase(0, output.size() - kKeptOutput);
  }
  close(pipe_ends[0]);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (stopped) return absl::CancelledError("ended on request during the runtime check");
  if (status == 0) return absl::OkStatus();
  const absl::string_view tail = absl::StripAsciiWhitespace(output);
  if (WIFEXITED(status) && WEXITSTATUS(status) == kExecFailed && tail.empty()) {
    return absl::NotFoundError(absl::StrCat("program can't be started: ", arguments[0]));
  }
  if (WIFEXITED(status) && refusal == WEXITSTATUS(status)) return absl::FailedPreconditionError(tail);
  return absl::InternalError(absl::StrCat("process failed: ", arguments[0], ": ", Describe(status), ": ", tail));
}

}  // namespace pactory::quant
