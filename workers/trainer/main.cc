#include <CLI/CLI.hpp>
#include <unistd.h>

#include <cstdlib>

#include "workers/trainer/commands.h"

namespace {

// Threads that wait by spinning take the cores from those they wait for: on a busy host a run takes three times longer. The OpenMP
// runtime reads this when it is loaded, so the program starts itself again; where it can't, it only is slower.
void WaitWithoutSpinning(char** argv) {
  if (std::getenv("OMP_WAIT_POLICY") != nullptr) return;
  setenv("OMP_WAIT_POLICY", "PASSIVE", 1);
  execv("/proc/self/exe", argv);
}

}  // namespace

int main(int argc, char** argv) {
  WaitWithoutSpinning(argv);
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
  pactory::AddReplayCommand(app, &exit_code);
  pactory::AddLintCommand(app, &exit_code);
  pactory::AddTimeCommand(app, &exit_code);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? pactory::kExitDone : pactory::kExitUsage;
  }
  return exit_code;
}
