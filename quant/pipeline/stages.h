// The stages of a job, in their order; pipeline.cc runs them. Each reads and fills in PipelineState, one file each. An error
// carries the job's reason (base/error.h). Not thread-safe.
#pragma once

#include "absl/status/status.h"
#include "pactory/v1/quantization.pb.h"
#include "quant/evaluation/accuracy.h"
#include "quant/evaluation/output_noise.h"
#include "quant/pipeline/pipeline_state.h"
#include "quant/training/loss.h"

namespace pactory::quant {

/// Reads model, data, config and checkpoint and checks that they fit together. BAD_MODEL, UNSUPPORTED_OP, BAD_DATA, BAD_CONFIG.
absl::Status LoadInputs(PipelineState& state);

/// Measures the uploaded model on the evaluation set. GATE_FAILED below gates.min_fp32_metric.
absl::Status EvaluateFp32(PipelineState& state);

/// Runs the uploaded file in the runtime: this engine must give the same answers. GATE_FAILED where it does not.
absl::Status VerifyImport(PipelineState& state);

/// Adds the stages of Quantize to the plan of the progress.
void PlanQuantization(PipelineState& state);

/// From the ranges to the file and its check, by the config as it is now: the stages below up to CheckDeployed, in order.
absl::Status Quantize(PipelineState& state);

/// Runs Quantize for the rungs of the config's contract until one keeps it, and leaves the state of the best one. GATE_FAILED where
/// the budget lets none run.
absl::Status ClimbLadder(PipelineState& state);

/// Places the quantizers, measures the ranges of the activations, chooses those of the weights and measures how sensitive the
/// layers are; with `mixed_precision` chooses the layers that keep more bits, adds them to the config's overrides and does it
/// all again.
absl::Status CalibrateRanges(PipelineState& state);

/// Returns the layers of the present plan, the most sensitive first; measured at the first call after CalibrateRanges.
absl::StatusOr<std::vector<LayerSensitivity>> RankLayers(PipelineState& state);

/// Part of CalibrateRanges: decides for `weights.range: AUTO` which weights use the whole 8-bit grid: those of layers that are
/// computed in float, and those whose 16-bit pair sums have room on training samples.
absl::Status ChooseWeightRanges(PipelineState& state);

/// Evaluates the model quantized by max|x| alone.
absl::Status EvaluatePtq(PipelineState& state);

/// Trains and evaluates the baseline without alpha, where the config asks for it.
absl::Status TrainPlainBaseline(PipelineState& state);

/// Trains the model by the config and evaluates it; without training, takes the calibrated ranges.
absl::Status TrainModel(PipelineState& state);

/// Holds the ranges that ChooseWeightRanges gave against the trained model; a weight that training let pass 16-bit pair sums is
/// reduced, and the model evaluated anew.
absl::Status CheckWeightRanges(PipelineState& state);

/// Measures layers and quantizers of the trained model against FP32.
absl::Status MeasureLayers(PipelineState& state);

/// Writes model.int8.onnx.
absl::Status WriteModel(PipelineState& state);

/// Runs the file in the runtime over the whole evaluation set, with its default kernels and as the file is written, and both files
/// for latency.
absl::Status CheckDeployed(PipelineState& state);

/// Holds the result against the config's gates and its contract. GATE_FAILED names the gate and the numbers.
absl::Status CheckGates(const PipelineState& state);

/// Writes report.json, report.html and manifest.json.
absl::Status WriteReports(PipelineState& state);

/// Returns whether the training data has what the task's loss needs.
Labels LabelsOf(const PipelineState& state);
/// Compares the answers of the report's rows sample by sample, and those of FP32 and the deployed (else the trained) model by class.
absl::Status CompareModels(PipelineState& state);

/// Returns the answers that count as right: the labels, or FP32's.
at::Tensor ExpectedAnswers(const PipelineState& state);

/// Returns the job's metric of some answers on the evaluation set.
absl::StatusOr<Accuracy> MeasureMetric(const PipelineState& state, const at::Tensor& answers);

/// Evaluates a model on the evaluation set: its answers; the outputs of the first samples go to `kept` where it is not null.
/// Advances the present stage from `from` to `to`.
absl::StatusOr<at::Tensor> AnswersOf(PipelineState& state, QuantizedModel& model, double from, double to,
                                     KeptOutputs* kept = nullptr);

}  // namespace pactory::quant
