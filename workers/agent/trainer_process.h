// One trainer: started on a job, listened to, stopped, and explained when it died. Used by runs.
//
// Start, WaitForExit, Stop and the destructor belong to one thread, which must live as long as the trainer. The handler
// of events is called on a thread of this object's own.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/cancellation.h"
#include "pactory/v1/trainer.pb.h"
#include "workers/agent/log_tail.h"

namespace pactory {

/// What is started, and where.
struct TrainerCommand {
  /// Program and arguments.
  std::vector<std::string> argv;
  /// The job folder; the working folder of the trainer, and its HOME.
  std::string folder;
  /// Limit of private memory in bytes; 0 for none.
  int64_t memory_limit_bytes = 0;
};

/// How a trainer ended.
struct TrainerEnd {
  /// Exit code, or -1 after a signal.
  int exit_code = -1;
  /// The signal that killed it, or 0.
  int signal = 0;
  /// Whether memory ran out: the kernel said so, or the trainer's last words do.
  bool out_of_memory = false;
  /// Its last line on standard error.
  std::string last_message;
  /// Its last lines.
  std::string log;

  /// For people: "the trainer was killed by signal 9 (Killed); its last message: ...".
  std::string Describe() const;
};

/// A running trainer.
class TrainerProcess {
 public:
  using EventHandler = std::function<void(const v1::TrainerEvent&)>;

  /// Starts the program and hands it the job. NOT_FOUND or INTERNAL where it can't be executed.
  static absl::StatusOr<std::unique_ptr<TrainerProcess>> Start(const TrainerCommand& command, const v1::TrainerJob& job,
                                                               EventHandler on_event);

  /// Kills the trainer and all it started.
  ~TrainerProcess();

  /// Waits until the trainer ended or `stop` is cancelled. Returns whether it ended.
  bool WaitForExit(const Cancellation& stop);

  /// Ends the trainer: SIGTERM to its group, SIGKILL after `grace`.
  void Stop(absl::Duration grace);

  /// Returns how it ended, once it has: every event was handled by then. Call once, after WaitForExit or Stop.
  TrainerEnd Finish();

  pid_t pid() const { return pid_; }

 private:
  TrainerProcess() = default;
  bool Exited(absl::Duration timeout, int stop_fd) const;
  void ReadEvents();
  void ReadLog();

  pid_t pid_ = -1;
  int pid_fd_ = -1;
  int event_fd_ = -1;
  int log_fd_ = -1;
  int64_t oom_kills_before_ = 0;
  EventHandler on_event_;
  LogTail tail_;
  std::thread event_thread_;
  std::thread log_thread_;
};

}  // namespace pactory
