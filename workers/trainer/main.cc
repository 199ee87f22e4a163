#include <CLI/CLI.hpp>

#include "workers/trainer/commands.h"

int main(int argc, char** argv) {
  CLI::App app(
      "Quantization engine of Pactory: runs one job for the agent, and answers people's questions about a model "
      "without "
      "any service.",
      "pactory-trainer");
  app.require_subcommand(1);
  app.failure_message(CLI::FailureMessage::help);
  int exit_code = pactory::kExitDone;
  pactory::AddRunCommand(app, &exit_code);
  pactory::AddInspectCommand(app, &exit_code);
  pactory::AddOpsCommand(app, &exit_code);
  pactory::AddJobCommand(app, &exit_code);
  pactory::AddQuantizeCommand(app, &exit_code);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? pactory::kExitDone : pactory::kExitUsage;
  }
  return exit_code;
}
