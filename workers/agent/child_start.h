// Starts a program confined: own process group, limits, no privileges to gain, no network, dead with its parent. Used
// for trainers. Stateless.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace pactory {

/// Whether a child sees the host's network.
enum class Network {
  /// An empty network of its own; the host's where the kernel does not allow to make one.
  kNone,
  kHost,
};

/// What to start, and how confined. The descriptors stay the caller's.
struct ChildSpec {
  /// Program (a path) and arguments.
  std::vector<std::string> argv;
  /// All of the environment, as `NAME=value`.
  std::vector<std::string> environment;
  std::string working_folder;
  int stdin_fd = -1;
  /// Becomes descriptor 1 and 2.
  int log_fd = -1;
  /// Becomes descriptor 3.
  int event_fd = -1;
  /// Limit of the private memory in bytes; 0 for none.
  int64_t memory_limit_bytes = 0;
  int64_t open_files = 4096;
  Network network = Network::kNone;
};

/// Starts the child and returns its process id, which is its process group too. The child is killed when the calling
/// *thread* ends. NOT_FOUND or INTERNAL say why the program could not be executed.
absl::StatusOr<pid_t> StartChild(const ChildSpec& spec);

}  // namespace pactory
