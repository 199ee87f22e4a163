// A new job from the command line. Used by `run` and `jobs submit`.
#pragma once

#include <CLI/App.hpp>

#include <string>

#include "absl/status/statusor.h"
#include "cli/config_source.h"
#include "cli/session.h"
#include "pactory/v1/job.pb.h"

namespace pactory {

/// What the flags say.
struct JobSubmission {
  std::string model;
  std::string data;
  std::string eval_data;
  ConfigSource config;
  std::string display_name;
  std::string request_id;
  int priority = 0;
  /// any, cpu, gpu; empty for the server's choice.
  std::string worker_kind;
  int memory_gib = 0;
  int max_attempts = 0;
  double deadline_hours = 0;
  double stall_minutes = 0;
  bool validate_only = false;
};

/// Adds the flags.
void AddSubmissionFlags(CLI::App& command, JobSubmission& submission);

/// Checks the config, uploads what is named as files, and queues the job (or only checks it).
absl::StatusOr<v1::Job> Submit(Session& session, const JobSubmission& submission);

}  // namespace pactory
