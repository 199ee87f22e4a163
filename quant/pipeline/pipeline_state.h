// What the stages of one job hand on to each other. Used by the pipeline's stages alone. Not thread-safe.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "quant/data/dataset.h"
#include "quant/evaluation/metric.h"
#include "quant/evaluation/output_noise.h"
#include "quant/execution/executor.h"
#include "quant/exporting/export_model.h"
#include "quant/observers/histogram.h"
#include "quant/observers/range_trace.h"
#include "quant/passes/insert_quantizers.h"
#include "quant/pipeline/job.h"
#include "quant/pipeline/progress_meter.h"
#include "quant/pipeline/sensitivity.h"
#include "quant/quantizers/quantized_model.h"
#include "quant/report/report.h"
#include "quant/training/checkpoint.h"
#include "quant/training/distillation.h"

namespace pactory::quant {

/// The state of one job.
struct PipelineState {
  PipelineState(const QuantizationJob& job, JobListener& listener) : job(job), listener(listener), meter(listener) {}

  const QuantizationJob& job;
  JobListener& listener;
  ProgressMeter meter;
  /// Complete.
  v1::QuantizationConfig config;
  at::Device device = at::kCPU;
  Report report;

  /// Set by LoadInputs.
  std::string model_sha256, train_sha256, eval_sha256;
  std::unique_ptr<Dataset> train, eval;
  /// What the evaluation data has for a metric by labels; undefined for others.
  at::Tensor expected;
  /// Of the graph's inputs, by index: those that training augments.
  std::vector<size_t> augmented_inputs;
  /// The batch that the model was exported with; -1: it takes any.
  int64_t fixed_batch = -1;
  Metric metric;
  /// Prepared for quantization, in float.
  Graph graph;
  std::vector<DistillationTarget> targets;
  std::unique_ptr<Executor> fp32;
  std::optional<Checkpoint> resume;

  /// Answers over the evaluation set by report row (`ptq`, `qat_plain`, `deployed`), on the CPU, of the rows that were measured here.
  std::map<std::string, at::Tensor> answers;

  /// Set by EvaluateFp32: the answers of the whole evaluation set, and the outputs of its first samples.
  at::Tensor fp32_answers;
  KeptOutputs fp32_outputs;
  double fp32_seconds = 0;

  /// Set by PlaceQuantizers and CalibrateRanges.
  Graph quantized_graph;
  QuantizationPlan plan;
  std::map<std::string, AbsHistogram> histograms;
  std::map<std::string, RangeTrace> traces;
  /// By OUTPUT_ERROR, where it is the rule.
  std::map<std::string, double> thresholds;
  /// The most sensitive first; empty where it was not measured.
  std::vector<LayerSensitivity> sensitivity;
  /// Why mixed precision chose a layer's precision, by layer, of those that it left in float.
  std::map<std::string, std::string> precision_reasons;

  /// Set by TrainModel (or, without training, by the PTQ stage): the model that is exported, and its answers.
  std::unique_ptr<QuantizedModel> trained;
  at::Tensor trained_answers;

  /// Set by CheckWeightRanges: largest 16-bit pair sum of each weight of an int8 layer, by quantizer (LargestPairSum).
  std::map<std::string, double> pair_sums;

  /// Set by ClimbLadder: the rung of the contract that is tried; -1 without a contract.
  int64_t rung = -1;
  /// Set by ClimbLadder: when the contract's seconds are spent.
  absl::Time budget_end = absl::InfiniteFuture();

  /// Set by WriteModel.
  ExportedModel exported;
  std::string exported_path;
};

}  // namespace pactory::quant
