#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "quant/pipeline/runtime_check.h"
#include "quant/pipeline/stages.h"

namespace pactory::quant {
namespace {

constexpr int64_t kLatencyRuns = 100;
// Samples of the import's check: enough to see a wrong op, few enough to cost seconds on any set.
constexpr int64_t kImportSamples = 512;
// Share of equal answers below which the import is wrong and not merely rounded otherwise.
constexpr double kLeastImportAgreement = 0.99;
// The same of the outputs themselves: noise of 10 %. Rounding makes 120 dB, and 40 where the file is quantized already.
constexpr double kLeastImportSqnrDb = 20;

// `outputs` keeps what comes, where it is given.
RuntimeCheck MakeCheck(PipelineState& state, const std::string& model_path, KeptOutputs* outputs = nullptr) {
  RuntimeCheck check;
  check.command = state.job.runtime_check_command;
  check.model_path = model_path;
  check.work_dir = absl::StrCat(state.job.output_dir, "/runtime_check");
  check.batch_size = state.config.evaluation().batch_size();
  check.threads = at::get_num_threads();
  check.stop = [&state] { return state.listener.StopRequested(); };
  check.keep = [&state, outputs](const at::Tensor& part) {
    if (outputs != nullptr) outputs->Add(part);
    return state.metric.Answers(part);
  };
  return check;
}

// The runtime that a profile is for, where it can run here; TensorRT's needs a GPU and is none of the check's.
std::string DeploymentRuntime(PipelineState& state) {
  constexpr char kOrt[] = "onnxruntime";
  switch (state.config.export_().profile()) {
    case v1::ExportConfig::OPENVINO:
      if (HasRuntime(state.job.runtime_check_command, "openvino")) return "openvino";
      state.report.warnings.push_back("OpenVINO is not installed here; the file was run in ONNX Runtime alone");
      return kOrt;
    case v1::ExportConfig::TENSORRT:
      state.report.warnings.push_back("TensorRT was not run: the result holds for the file in ONNX Runtime, and the file keeps to "
                                      "TensorRT's rules as far as `pactory-trainer lint` has them");
      return kOrt;
    default: return kOrt;
  }
}

absl::Status AddRuntime(PipelineState& state, const RuntimeResult& result, const char* optimization) {
  RuntimeReport run{.name = result.runtime_name,
                    .version = result.runtime_version,
                    .instruction_set = result.instruction_set,
                    .optimization = optimization};
  PACTORY_ASSIGN_OR_RETURN(run.accuracy, MeasureMetric(state, result.kept));
  PACTORY_ASSIGN_OR_RETURN(run.agreement_trained, state.metric.Agreement(result.kept, state.trained_answers));
  state.report.runtimes.push_back(std::move(run));
  return absl::OkStatus();
}

}  // namespace

absl::Status VerifyImport(PipelineState& state) {
  if (state.job.runtime_check_command.empty()) return absl::OkStatus();
  PACTORY_RETURN_IF_ERROR(state.meter.Start("verify_import"));
  KeptOutputs outputs;
  RuntimeCheck check = MakeCheck(state, state.job.model_path, &outputs);
  check.samples = kImportSamples;
  const absl::StatusOr<RuntimeResult> run = RunRuntimeCheck(check, *state.eval);
  if (absl::IsFailedPrecondition(run.status())) {
    return WithReason(Prefixed(run.status(), "ONNX Runtime must be able to load the uploaded file: "), "BAD_MODEL");
  }
  PACTORY_RETURN_IF_ERROR(run.status());
  const RuntimeResult& result = *run;
  PACTORY_ASSIGN_OR_RETURN(state.report.agreement_import,
                           state.metric.Agreement(state.fp32_answers.slice(0, 0, result.kept.size(0)), result.kept));
  state.report.import_sqnr_db = SqnrDb(outputs, state.fp32_outputs);
  if (state.report.agreement_import->share() < kLeastImportAgreement) {
    return WithReason(absl::FailedPreconditionError(absl::StrFormat(
                          "the imported model must give the runtime's answers before it is trained: equal=%d of %d",
                          state.report.agreement_import->right, state.report.agreement_import->total)),
                      "GATE_FAILED");
  }
  // Answers can be equal by themselves, as the largest of one value is.
  if (state.report.import_sqnr_db.value_or(kLeastImportSqnrDb) < kLeastImportSqnrDb) {
    return WithReason(absl::FailedPreconditionError(absl::StrFormat(
                          "the imported model must give the runtime's outputs before it is trained: signal to noise=%.1f dB least=%.0f dB",
                          *state.report.import_sqnr_db, kLeastImportSqnrDb)),
                      "GATE_FAILED");
  }
  return absl::OkStatus();
}

absl::Status CheckDeployed(PipelineState& state) {
  if (state.job.runtime_check_command.empty()) {
    state.report.warnings.push_back("the deployed model was not measured: no runtime check command was given");
    return absl::OkStatus();
  }
  PACTORY_RETURN_IF_ERROR(state.meter.Start("check_deployed"));
  KeptOutputs outputs;
  RuntimeCheck check = MakeCheck(state, state.exported_path, &outputs);
  check.runtime = DeploymentRuntime(state);
  check.latency_runs = kLatencyRuns;
  check.on_part = [&](double share) { return state.meter.Advance(0.4 * share); };
  PACTORY_ASSIGN_OR_RETURN(const RuntimeResult result, RunRuntimeCheck(check, *state.eval));
  PACTORY_ASSIGN_OR_RETURN(state.report.deployed, MeasureMetric(state, result.kept));
  PACTORY_ASSIGN_OR_RETURN(state.report.agreement_trained, state.metric.Agreement(result.kept, state.trained_answers));
  PACTORY_ASSIGN_OR_RETURN(state.report.agreement_fp32, state.metric.Agreement(result.kept, state.fp32_answers));
  state.report.deployed_sqnr_db = SqnrDb(state.fp32_outputs, outputs);
  state.answers["deployed"] = result.kept;
  PACTORY_RETURN_IF_ERROR(AddRuntime(state, result, "all"));
  state.report.int8_latency_ms = result.latency_ms;
  state.report.runtime_name = result.runtime_name;
  state.report.runtime_version = result.runtime_version;
  state.report.instruction_set = result.instruction_set;
  state.report.onnx_checker = result.checker;
  if (result.checker != "passed") state.report.warnings.push_back(absl::StrCat("onnx.checker: ", result.checker));
  // Right after the other, so that both ran on the machine as it was then.
  RuntimeCheck original = MakeCheck(state, state.job.model_path);
  original.runtime = check.runtime;
  original.latency_runs = kLatencyRuns;
  original.samples = 1;
  PACTORY_ASSIGN_OR_RETURN(const RuntimeResult fp32, RunRuntimeCheck(original, *state.eval));
  state.report.fp32_latency_ms = fp32.latency_ms;
  // What the file means, whatever kernels a CPU has.
  RuntimeCheck written = MakeCheck(state, state.exported_path);
  written.optimized = false;
  written.on_part = [&](double share) { return state.meter.Advance(0.4 + 0.5 * share); };
  PACTORY_ASSIGN_OR_RETURN(const RuntimeResult meaning, RunRuntimeCheck(written, *state.eval));
  PACTORY_RETURN_IF_ERROR(AddRuntime(state, meaning, "none"));
  return absl::OkStatus();
}

absl::Status CheckGates(const PipelineState& state) {
  const v1::GateConfig& gates = state.config.gates();
  const auto fail = [](std::string message) {
    return WithReason(absl::FailedPreconditionError(std::move(message)), "GATE_FAILED");
  };
  const Report& report = state.report;
  if (report.agreement_trained.has_value() && report.agreement_trained->share() < gates.min_deployed_agreement()) {
    return fail(absl::StrFormat(
        "the deployed model must give the trained model's answers (gates.min_deployed_agreement): equal=%.4f least=%.4f",
        report.agreement_trained->share(), gates.min_deployed_agreement()));
  }
  if (report.contract.has_value() && !report.contract->met) {
    const ContractReport& contract = *report.contract;
    const RungReport& best = contract.rungs[static_cast<size_t>(contract.best)];
    return fail(absl::StrFormat("no rung of the ladder keeps contract.max_drop: largest loss=%.4f; the best is %s with a loss of %.4f, "
                                "its files are the job's",
                                contract.max_drop, best.name, best.drop.value_or(1)));
  }
  const std::optional<Accuracy>& last = report.deployed.has_value() ? report.deployed : report.qat;
  if (last.has_value() && report.fp32->share() - last->share() > gates.max_metric_drop()) {
    return fail(absl::StrFormat("the quantized model must not lose more than gates.max_metric_drop: fp32=%.4f quantized=%.4f "
                                "largest loss=%.4f; train longer, or keep the most sensitive layers in float (overrides)",
                                report.fp32->share(), last->share(), gates.max_metric_drop()));
  }
  return absl::OkStatus();
}

}  // namespace pactory::quant
