// Everything a job's report says; docs/report.md is its schema as JSON. Filled by the pipeline's stages. Stateless values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "pactory/v1/quantization.pb.h"
#include "quant/evaluation/accuracy.h"
#include "quant/exporting/size_breakdown.h"
#include "quant/training/training_history.h"

namespace pactory::quant {

/// One quantizer.
struct QuantizerReport {
  std::string name;
  /// Node that writes the tensor, or reads the weight; "" for a graph input.
  std::string node;
  /// `activation` or `weight`.
  std::string target;
  /// Like `PACT_TWO_SIDED`.
  std::string method;
  int64_t bits = 0;
  bool is_signed = true;
  /// Of the stored integers; absent for weights, whose zero point is 0.
  std::optional<int64_t> zero_point;
  /// One, or one per channel.
  std::vector<double> scales;
  /// Learned clipping value, or upper end of an affine range, and where it started; of a weight the mean of its learned ranges,
  /// each as a multiple of where it started. Absent where the method has none.
  std::optional<double> alpha;
  std::optional<double> alpha_initial;
  /// Learned lower end of an affine range and where it started.
  std::optional<double> low;
  std::optional<double> low_initial;
  /// Share of values beyond the range, on calibration samples; absent for weights.
  std::optional<double> clipped_share;
  /// Batches of calibration, and after how many max|x| was within 1 % of its last value; absent for weights.
  std::optional<int64_t> calibration_batches;
  std::optional<int64_t> stable_after_batches;
  /// Index in the training data of the sample with the largest |x|.
  std::optional<int64_t> largest_sample;
};

/// One layer with weights.
struct LayerReport {
  std::string name;
  std::string op;
  int64_t params = 0;
  /// 32 in float.
  int64_t weight_bits = 32;
  int64_t activation_bits = 32;
  /// `int8`, `int8_weights` (stored on their grid, computed in float) or `float`.
  std::string precision;
  /// Why the layer is not computed in int8; "" where it is.
  std::string float_reason;
  /// Signal over quantization noise of its output against FP32, in dB; absent where it could not be measured.
  std::optional<double> sqnr_db;
};

/// What the job ran on.
struct EnvironmentReport {
  std::string pactory_version;
  std::string libtorch_version;
  std::string cpu;
  int64_t threads = 0;
  std::string device;
};

/// A report.
struct Report {
  std::string job;
  /// `top1` or `agreement`.
  std::string metric_name;
  int64_t eval_samples = 0;
  std::optional<Accuracy> fp32, ptq, qat_plain, qat, deployed;
  /// Trained against deployed, and deployed against FP32, over the whole evaluation set.
  std::optional<Accuracy> agreement_trained, agreement_fp32;
  /// FP32 in this engine against FP32 in the runtime.
  std::optional<Accuracy> agreement_import;
  int64_t fp32_bytes = 0;
  SizeBreakdown fp32_breakdown;
  int64_t int8_bytes = 0;
  SizeBreakdown int8_breakdown;
  std::optional<double> fp32_latency_ms, int8_latency_ms;
  std::string runtime_name, runtime_version, instruction_set, onnx_checker;
  std::vector<QuantizerReport> quantizers;
  std::vector<LayerReport> layers;
  TrainingHistory history;
  std::optional<TrainingHistory> plain_history;
  /// Steps that an earlier attempt had done; 0 where the job was not resumed.
  int64_t resumed_from_step = 0;
  std::vector<std::pair<std::string, double>> timing;
  EnvironmentReport environment;
  v1::QuantizationConfig config;
  std::vector<std::string> warnings;
};

}  // namespace pactory::quant
