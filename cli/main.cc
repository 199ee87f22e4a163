// pactory: the command line client. Exit codes: see cli/exit_code.h.
#include <signal.h>

#include "cli/command_line.h"

int main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);
  return pactory::RunCommandLine(argc, argv);
}
