// SIGTERM and SIGINT as a flag that the pipeline asks between steps. Used by the job and quantize subcommands. Thread-safe.
#pragma once

namespace pactory {

/// Makes SIGTERM and SIGINT set the flag, and SIGPIPE harmless: a broken pipe is an error of a write.
void CatchStopSignals();

/// Whether a signal asked the program to end.
bool StopSignalled();

/// What a program ended by SIGTERM exits with.
inline constexpr int kExitTerminated = 143;

}  // namespace pactory
