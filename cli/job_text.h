// A job in words: its progress as a line, its state, how it ended. Used by the job commands. Stateless.
#pragma once

#include <string>

#include "cli/exit_code.h"
#include "cli/progress_line.h"
#include "pactory/v1/job.pb.h"

namespace pactory {

/// Whether a job can't change any more.
bool IsFinal(v1::Job::State state);

/// One line of progress: stage, steps, loss, accuracy, the range of alpha, time left.
std::string ProgressText(const v1::Job& job, ProgressStyle style);

/// One line on the end of a job: "jobs/…: FAILED: BAD_DATA: …".
std::string EndText(const v1::Job& job);

/// kDone for SUCCEEDED, kJobFailed for the other final states.
ExitCode ExitCodeOfJob(const v1::Job& job);

}  // namespace pactory
