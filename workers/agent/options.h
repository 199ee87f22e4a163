// What the agent is told at its start, by flags and PACTORY_* variables. Used by main.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/logging.h"
#include "client/server_address.h"

namespace pactory {

/// The agent's options, checked.
struct AgentOptions {
  ServerAddress server;
  std::string cache_folder;
  std::string work_folder;
  std::string trainer;
  std::vector<std::string> runtime_check_command;
  int slots = 1;
  /// What jobs may ask for together; 0: what the GPU or the host has.
  int job_memory_gib = 0;
  int64_t cache_limit_bytes = 0;
  /// 0 for none.
  int64_t memory_limit_bytes = 0;
  /// Written once the server knows this worker; empty for none.
  std::string ready_file;
  LogOptions log;
};

/// Reads the command line. An error's code is CANCELLED where help or the version was asked for and printed; otherwise
/// INVALID_ARGUMENT says which flag is wrong.
absl::StatusOr<AgentOptions> ParseAgentOptions(int argc, char** argv);

}  // namespace pactory
