// A program of the local service that runs on after `pactory local up`: found again by its pid file, waited for,
// stopped. Used by the local service. Not thread-safe.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "cli/local/program.h"

namespace pactory {

/// A daemon, known by its pid file. The file holds the start time too, so that a process that later got the same number
/// is not taken for it.
class Daemon {
 public:
  /// `name`: for people, like `server`.
  Daemon(std::string name, std::string pid_path, std::string log_path)
      : name_(std::move(name)), pid_path_(std::move(pid_path)), log_path_(std::move(log_path)) {}

  /// The process, where it runs.
  std::optional<pid_t> Find() const;

  /// Waits for the last thread of one that was killed: it runs no more, and holds its ports and locks until then.
  void AwaitLastThread() const;

  /// Starts the program and waits until it has made `ready_path`. Where it ends before that, or takes longer than
  /// `timeout`, the error holds the end of its log.
  absl::Status Start(const Program& program, const std::string& ready_path, absl::Duration timeout) const;

  /// Asks it to end.
  void Signal(int signal) const;

  /// Waits until it ended, and kills it after `grace`.
  void AwaitEnd(absl::Duration grace) const;

  const std::string& name() const { return name_; }
  const std::string& log_path() const { return log_path_; }

 private:
  struct Process {
    pid_t pid;
    bool ended;
  };
  // The process of the pid file, until nothing of it is left.
  std::optional<Process> Known() const;

  const std::string name_;
  const std::string pid_path_;
  const std::string log_path_;
};

}  // namespace pactory
