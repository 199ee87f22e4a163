#include "quant/pipeline/pipeline.h"

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "quant/pipeline/environment.h"
#include "quant/pipeline/stages.h"

namespace pactory::quant {
namespace {

const std::vector<OutputFile>& ReportFiles() {
  static const auto& files = *new std::vector<OutputFile>{
      {"report.json", "application/json"}, {"report.html", "text/html"}, {"manifest.json", "application/json"}};
  return files;
}

absl::Status MakeOutputDir(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (!error) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("output folder must be writable: path=", path, ": ", error.message()));
}

absl::Status RunStages(PipelineState& state) {
  PACTORY_RETURN_IF_ERROR(MakeOutputDir(state.job.output_dir));
  PACTORY_RETURN_IF_ERROR(LoadInputs(state));
  // Before anything is trained: is the model what its owner says it is, and do we run it as the runtime does?
  PACTORY_RETURN_IF_ERROR(EvaluateFp32(state));
  PACTORY_RETURN_IF_ERROR(VerifyImport(state));
  PACTORY_RETURN_IF_ERROR(state.config.has_contract() ? ClimbLadder(state) : Quantize(state));
  PACTORY_RETURN_IF_ERROR(CompareModels(state));
  // The report comes before the gates: who fails them needs it most.
  PACTORY_RETURN_IF_ERROR(WriteReports(state));
  return CheckGates(state);
}

}  // namespace

absl::Status Quantize(PipelineState& state) {
  PACTORY_RETURN_IF_ERROR(CalibrateRanges(state));
  PACTORY_RETURN_IF_ERROR(EvaluatePtq(state));
  PACTORY_RETURN_IF_ERROR(TrainPlainBaseline(state));
  PACTORY_RETURN_IF_ERROR(TrainModel(state));
  PACTORY_RETURN_IF_ERROR(CheckWeightRanges(state));
  PACTORY_RETURN_IF_ERROR(MeasureLayers(state));
  PACTORY_RETURN_IF_ERROR(WriteModel(state));
  return CheckDeployed(state);
}

absl::StatusOr<PipelineResult> RunPipeline(const QuantizationJob& job, JobListener& listener) {
  PipelineState state(job, listener);
  state.report.job = job.name;
  PACTORY_RETURN_IF_ERROR(RunStages(state));
  state.meter.Finish();
  PipelineResult result = {.report = std::move(state.report),
                           .files = {{"model.int8.onnx", "application/octet-stream"}}};
  result.files.insert(result.files.end(), ReportFiles().begin(), ReportFiles().end());
  return result;
}

std::vector<OutputFile> WrittenReports(const std::string& output_dir) {
  std::vector<OutputFile> written;
  for (const OutputFile& file : ReportFiles()) {
    std::error_code error;
    if (std::filesystem::is_regular_file(absl::StrCat(output_dir, "/", file.name), error)) written.push_back(file);
  }
  return written;
}

}  // namespace pactory::quant
