// A quantization job from the uploaded files to the published ones. Used by the trainer's subcommands.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "quant/pipeline/job.h"
#include "quant/report/report.h"

namespace pactory::quant {

/// A file of `output_dir` to publish.
struct OutputFile {
  std::string name;
  std::string media_type;
};

/// What a job made.
struct PipelineResult {
  Report report;
  std::vector<OutputFile> files;
};

/// Runs a job: blocks until it is done, in minutes or hours. An error carries the reason of JobError (base/error.h);
/// CANCELLED where the listener asked for the end. With GATE_FAILED after training the report's files are there all the same.
absl::StatusOr<PipelineResult> RunPipeline(const QuantizationJob& job, JobListener& listener);

/// Returns the report's files that a job left in its `output_dir`, as one does that failed a gate after training.
std::vector<OutputFile> WrittenReports(const std::string& output_dir);

}  // namespace pactory::quant
