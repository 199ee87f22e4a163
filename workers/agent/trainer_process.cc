#include "workers/agent/trainer_process.h"

#include <fcntl.h>
#include <google/protobuf/util/delimited_message_util.h>
#include <poll.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "workers/agent/child_start.h"
#include "workers/agent/message_reader.h"

namespace pactory {
namespace {

// Variables of the agent that a trainer needs to find its libraries and its devices. No others: the agent's token may
// be in its environment.
constexpr const char* kPassedOn[] = {
    "LD_LIBRARY_PATH",      "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES",
    "CUDA_DEVICE_ORDER",    "OMP_NUM_THREADS",      "MKL_NUM_THREADS",        "PACTORY_TRAINER_LOG_LEVEL",
    "PACTORY_LIBTORCH_DIR", "PACTORY_THREADS",      "ASAN_OPTIONS",           "TZ"};

std::vector<std::string> TrainerEnvironment(const std::string& folder) {
  std::vector<std::string> environment = {"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8",
                                          absl::StrCat("HOME=", folder), absl::StrCat("TMPDIR=", folder, "/tmp"),
                                          // Threads that wait by spinning take the cores from those they wait for: on
                                          // a busy host a training is three times faster without.
                                          "OMP_WAIT_POLICY=PASSIVE"};
  for (const char* name : kPassedOn) {
    if (const char* value = std::getenv(name)) environment.push_back(absl::StrCat(name, "=", value));
  }
  return environment;
}

// The kernel's count of processes it killed for memory; 0 where it does not tell.
int64_t OutOfMemoryKills() {
  std::ifstream vmstat("/proc/vmstat");
  std::string name;
  int64_t value = 0;
  while (vmstat >> name >> value) {
    if (name == "oom_kill") return value;
  }
  return 0;
}

bool SpeaksOfMemory(const std::string& log) {
  const std::string lower = absl::AsciiStrToLower(log);
  return absl::StrContains(lower, "bad_alloc") || absl::StrContains(lower, "out of memory") ||
         absl::StrContains(lower, "can't allocate memory") || absl::StrContains(lower, "cannot allocate memory");
}

class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd() {
    if (fd_ >= 0) close(fd_);
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

// The job travels as a file that becomes standard input: a pipe would block the agent on a trainer that does not read.
absl::StatusOr<int> JobAsInput(const v1::TrainerJob& job, const std::string& folder) {
  const std::string path = folder + "/job.pb";
  {
    std::ofstream file(path, std::ios::binary);
    if (!google::protobuf::util::SerializeDelimitedToOstream(job, &file) || !file.flush()) {
      return absl::InternalError(absl::StrCat("the job can't be written: ", path));
    }
  }
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return absl::InternalError(absl::StrCat("the job can't be read: ", path, ": ", std::strerror(errno)));
  return fd;
}

}  // namespace

std::string TrainerEnd::Describe() const {
  std::string text = signal != 0
                         ? absl::StrCat("the trainer was killed by signal ", signal, " (", strsignal(signal), ")")
                         : absl::StrCat("the trainer exited with code ", exit_code, " and no result");
  if (!last_message.empty()) absl::StrAppend(&text, "; its last message: ", last_message);
  return text;
}

absl::StatusOr<std::unique_ptr<TrainerProcess>> TrainerProcess::Start(const TrainerCommand& command,
                                                                      const v1::TrainerJob& job,
                                                                      EventHandler on_event) {
  PACTORY_ASSIGN_OR_RETURN(const int input_fd, JobAsInput(job, command.folder));
  const Fd input(input_fd);
  int events[2], log[2];
  if (pipe2(events, O_CLOEXEC) != 0) return absl::InternalError("no pipe for the trainer's events");
  Fd event_read(events[0]), event_write(events[1]);
  if (pipe2(log, O_CLOEXEC) != 0) return absl::InternalError("no pipe for the trainer's log");
  Fd log_read(log[0]), log_write(log[1]);

  std::unique_ptr<TrainerProcess> process(new TrainerProcess());
  process->oom_kills_before_ = OutOfMemoryKills();
  process->on_event_ = std::move(on_event);
  PACTORY_ASSIGN_OR_RETURN(process->pid_, StartChild({.argv = command.argv,
                                                      .environment = TrainerEnvironment(command.folder),
                                                      .working_folder = command.folder,
                                                      .stdin_fd = input.get(),
                                                      .log_fd = log_write.get(),
                                                      .event_fd = event_write.get(),
                                                      .memory_limit_bytes = command.memory_limit_bytes}));
  process->pid_fd_ = static_cast<int>(syscall(SYS_pidfd_open, process->pid_, 0));
  process->event_fd_ = event_read.release();
  process->log_fd_ = log_read.release();
  process->event_thread_ = std::thread([p = process.get()] { p->ReadEvents(); });
  process->log_thread_ = std::thread([p = process.get()] { p->ReadLog(); });
  if (process->pid_fd_ < 0) return absl::InternalError(absl::StrCat("no pidfd: ", std::strerror(errno)));
  return process;
}

TrainerProcess::~TrainerProcess() {
  if (pid_ > 0) Finish();
}

bool TrainerProcess::Exited(absl::Duration timeout, int stop_fd) const {
  const auto start = std::chrono::steady_clock::now();
  while (true) {
    pollfd fds[2] = {{pid_fd_, POLLIN, 0}, {stop_fd, POLLIN, 0}};
    int milliseconds = -1;
    if (timeout != absl::InfiniteDuration()) {
      const absl::Duration left = timeout - absl::FromChrono(std::chrono::steady_clock::now() - start);
      milliseconds = static_cast<int>(std::max<int64_t>(0, absl::ToInt64Milliseconds(left)));
    }
    if (poll(fds, stop_fd >= 0 ? 2 : 1, milliseconds) < 0 && errno == EINTR) continue;
    return (fds[0].revents & POLLIN) != 0;
  }
}

bool TrainerProcess::WaitForExit(const Cancellation& stop) { return Exited(absl::InfiniteDuration(), stop.fd()); }

void TrainerProcess::Stop(absl::Duration grace) {
  kill(-pid_, SIGTERM);
  if (!Exited(grace, -1)) kill(-pid_, SIGKILL);
}

TrainerEnd TrainerProcess::Finish() {
  // What the trainer left running goes with it, or the pipes would stay open. The leader is not reaped yet, so the
  // number of the group can't have been given to another.
  kill(-pid_, SIGKILL);
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  if (event_thread_.joinable()) event_thread_.join();
  if (log_thread_.joinable()) log_thread_.join();
  for (const int fd : {pid_fd_, event_fd_, log_fd_}) {
    if (fd >= 0) close(fd);
  }
  TrainerEnd end;
  if (WIFEXITED(status)) end.exit_code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) end.signal = WTERMSIG(status);
  end.last_message = tail_.LastLine();
  end.log = tail_.Text();
  end.out_of_memory = SpeaksOfMemory(end.log) || (end.signal == SIGKILL && OutOfMemoryKills() > oom_kills_before_);
  return end;
}

void TrainerProcess::ReadEvents() {
  MessageReader reader(event_fd_);
  v1::TrainerEvent event;
  while (true) {
    const auto more = reader.Read(event);
    if (!more.ok()) {
      spdlog::warn("the trainer's events can't be read any further: {}", more.status().ToString());
      // Read on, so that the trainer does not block on a full pipe.
      char rest[4096];
      while (read(event_fd_, rest, sizeof rest) > 0) {
      }
      return;
    }
    if (!*more) return;
    on_event_(event);
  }
}

void TrainerProcess::ReadLog() {
  char bytes[4096];
  while (true) {
    const ssize_t count = read(log_fd_, bytes, sizeof bytes);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return;
    tail_.Append(absl::string_view(bytes, count));
  }
}

}  // namespace pactory
