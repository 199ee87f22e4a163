// One run of `pactory`: the flags all commands share, and the command that was chosen. Filled while the command line is
// parsed, used by every command. Not thread-safe.
#pragma once

#include <CLI/App.hpp>

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "cli/client_settings.h"
#include "cli/exit_code.h"

namespace pactory {

/// How results are written to standard output. Progress and errors go to standard error in either form.
enum class OutputFormat { kText, kJson };

/// Flags of all commands, and what to do.
struct Invocation {
  ClientFlags client;
  OutputFormat output = OutputFormat::kText;
  /// The chosen command. An error becomes a line and an exit code in main.
  std::function<absl::StatusOr<ExitCode>()> command;
};

/// Adds a command's callback: run once the whole line is parsed.
inline void OnCommand(CLI::App* app, Invocation& invocation, std::function<absl::StatusOr<ExitCode>()> command) {
  app->callback([&invocation, command = std::move(command)] { invocation.command = command; });
}

// Each adds one group of commands to the command line.
void AddModelCommands(CLI::App& app, Invocation& invocation);
void AddDatasetCommands(CLI::App& app, Invocation& invocation);
void AddJobCommands(CLI::App& app, Invocation& invocation);
void AddRunCommand(CLI::App& app, Invocation& invocation);
void AddPresetCommand(CLI::App& app, Invocation& invocation);
void AddConfigCommands(CLI::App& app, Invocation& invocation);
void AddStatusCommand(CLI::App& app, Invocation& invocation);
void AddLocalCommands(CLI::App& app, Invocation& invocation);

}  // namespace pactory
