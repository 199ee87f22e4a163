// The whole command line of `pactory`. Used by main and by its tests.
#pragma once

namespace pactory {

/// Parses the command line, runs the command, prints errors as one line; returns the exit code.
int RunCommandLine(int argc, const char* const* argv);

}  // namespace pactory
