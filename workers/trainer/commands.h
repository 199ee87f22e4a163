// The subcommands of `pactory-trainer`, one file each. Used by main.cc only. Not thread-safe.
#pragma once

#include <CLI/App.hpp>

namespace pactory {

/// What the program exits with.
enum ExitCode {
  kExitDone = 0,
  kExitFailed = 1,
  kExitUsage = 2,
  /// The model can't be run: damaged, or an op is not supported.
  kExitRefused = 3,
};

/// Adds a subcommand to `app`; when it is given, it runs while the arguments are parsed and puts its result into `exit_code`.
void AddRunCommand(CLI::App& app, int* exit_code);
void AddInspectCommand(CLI::App& app, int* exit_code);
void AddOpsCommand(CLI::App& app, int* exit_code);
void AddJobCommand(CLI::App& app, int* exit_code);
void AddQuantizeCommand(CLI::App& app, int* exit_code);
void AddReplayCommand(CLI::App& app, int* exit_code);
void AddLintCommand(CLI::App& app, int* exit_code);
void AddTimeCommand(CLI::App& app, int* exit_code);

}  // namespace pactory
