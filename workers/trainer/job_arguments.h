// What names a job on the command line: model, data and config. Used by the quantize and time subcommands. Not thread-safe.
#pragma once

#include <CLI/App.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "quant/pipeline/job.h"

namespace pactory {

/// Filled in when the command line is parsed.
struct JobArguments {
  std::string model, data, eval_data, preset = "pact_int8", config_path;
  std::vector<std::string> assignments;
};

/// Adds the flags of `arguments`, which must live as long as `command`.
void AddJobArguments(CLI::App& command, JobArguments& arguments);

/// Returns the job that the flags name, its config read and changed by --set. Errors name the file or the field.
absl::StatusOr<quant::QuantizationJob> ReadJobArguments(const JobArguments& arguments);

}  // namespace pactory
