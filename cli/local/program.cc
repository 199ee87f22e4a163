#include "cli/local/program.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"

extern char** environ;

namespace pactory {
namespace {

enum class Detachment { kSameSession, kOwnSession };

// What the services of this machine's own may take from the caller's environment. The rest of PACTORY_* speaks of other
// servers, and of secrets.
bool PassedOn(absl::string_view variable) {
  return !absl::StartsWith(variable, "PACTORY_") || absl::StartsWith(variable, "PACTORY_LOG_") ||
         absl::StartsWith(variable, "PACTORY_THREADS=") || absl::StartsWith(variable, "PACTORY_LIBTORCH_DIR=") ||
         absl::StartsWith(variable, "PACTORY_TRAINER_LOG_LEVEL=");
}

// Starts a program with its output on `output_fd`.
absl::StatusOr<pid_t> Spawn(const Program& program, int output_fd, Detachment detachment) {
  std::vector<char*> argv, environment;
  for (const std::string& word : program.argv) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  for (char** variable = environ; *variable != nullptr; ++variable) {
    if (PassedOn(*variable)) environment.push_back(*variable);
  }
  environment.push_back(nullptr);
  int error_pipe[2];
  if (pipe2(error_pipe, O_CLOEXEC) != 0) return absl::InternalError("no pipe for a program");
  const pid_t child = fork();
  if (child == 0) {
    const auto give_up = [&error_pipe] {
      const int code = errno;
      if (write(error_pipe[1], &code, sizeof code) < 0) _exit(126);
      _exit(127);
    };
    if (detachment == Detachment::kOwnSession) setsid();
    signal(SIGPIPE, SIG_DFL);
    const int input = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (input < 0 || dup2(input, 0) < 0 || dup2(output_fd, 1) < 0 || dup2(output_fd, 2) < 0 || chdir("/") != 0)
      give_up();
    if (program.user) {
      // The groups first: without root's rights they can't be changed any more.
      if (setgroups(1, &program.user->gid) != 0 || setgid(program.user->gid) != 0 || setuid(program.user->uid) != 0) {
        give_up();
      }
    }
    execve(argv[0], argv.data(), environment.data());
    give_up();
  }
  const int fork_error = errno;
  close(error_pipe[1]);
  int code = 0;
  const bool failed = child > 0 && read(error_pipe[0], &code, sizeof code) == sizeof code;
  close(error_pipe[0]);
  if (child < 0) return absl::InternalError(absl::StrCat("no process for a program: ", std::strerror(fork_error)));
  if (failed) {
    waitpid(child, nullptr, 0);
    return absl::FailedPreconditionError(
        absl::StrCat(program.argv[0], ": the program can't be run: ", std::strerror(code)));
  }
  return child;
}

}  // namespace

absl::StatusOr<SystemUser> FindSystemUser(const std::string& name) {
  const passwd* entry = getpwnam(name.c_str());
  if (entry == nullptr) return absl::NotFoundError(absl::StrCat("no such user on this machine: ", name));
  return SystemUser{name, entry->pw_uid, entry->pw_gid};
}

absl::StatusOr<std::string> RunProgram(const Program& program) {
  int output[2];
  if (pipe2(output, O_CLOEXEC) != 0) return absl::InternalError("no pipe for a program");
  const auto child = Spawn(program, output[1], Detachment::kSameSession);
  close(output[1]);
  std::string text;
  char bytes[4096];
  ssize_t count;
  while (child.ok() && (count = read(output[0], bytes, sizeof bytes)) != 0) {
    if (count > 0) text.append(bytes, count);
    if (count < 0 && errno != EINTR) break;
  }
  close(output[0]);
  PACTORY_RETURN_IF_ERROR(child.status());
  int status = 0;
  while (waitpid(*child, &status, 0) < 0 && errno == EINTR) {
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    return absl::InternalError(absl::StrCat(program.argv[0], " failed: ", absl::StripAsciiWhitespace(text)));
  }
  return text;
}

absl::StatusOr<pid_t> StartDetached(const Program& program, const std::string& log_path) {
  const int log = open(log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (log < 0) return absl::InternalError(absl::StrCat(log_path, ": can't be written: ", std::strerror(errno)));
  const auto child = Spawn(program, log, Detachment::kOwnSession);
  close(log);
  return child;
}

}  // namespace pactory
