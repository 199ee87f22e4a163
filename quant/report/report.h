// Everything a job's report says; docs/report.md is its schema as JSON. Filled by the pipeline's stages. Stateless values.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "pactory/v1/quantization.pb.h"
#include "quant/evaluation/accuracy.h"
#include "quant/evaluation/mcnemar.h"
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
  /// `uint8` or `int8`; "" for weights.
  std::string stored_type;
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
  /// Values of the FP32 model on the calibration samples, by |x|: bin i counts [i, i + 1) * bin_width. Empty for weights.
  std::vector<int64_t> histogram;
  double bin_width = 0;
  /// Least and largest of these values.
  double least = 0;
  double largest = 0;
};

/// One layer with weights.
struct LayerReport {
  std::string name;
  std::string op;
  int64_t params = 0;
  /// 32 in float.
  int64_t weight_bits = 32;
  int64_t activation_bits = 32;
  /// Methods of its quantizers (QuantizerMethod); "" in float.
  std::string weight_method;
  std::string activation_method;
  /// `int8`, `int8_weights` (stored on their grid, computed in float) or `float`.
  std::string precision;
  /// Why the layer is not computed in int8; "" where it is.
  std::string float_reason;
  /// Signal over quantization noise of its output against FP32, in dB; absent where it could not be measured.
  std::optional<double> sqnr_db;
  /// Output error when this layer alone is quantized, and when its weight alone is (docs/report.md); absent where it was not measured.
  std::optional<double> sensitivity;
  std::optional<double> weight_sensitivity;
  /// Bytes of its weight, bias, scales and zero points, as float and in the file; what several layers share counts for the first.
  int64_t float_bytes = 0;
  int64_t stored_bytes = 0;
  /// Largest 16-bit pair sum that its inputs can make (LargestPairSum); absent where it is not computed in int8.
  std::optional<double> pair_sum;
  /// `full`: weights on all of [-127, 127]; `reduced`: on [-63, 63]; "" in float or below 8 bits.
  std::string weight_range;
  /// Output channels whose stored weights are all 0.
  int64_t dead_channels = 0;
  /// Channels whose weight scale was raised, because their bias did not fit 32 bits.
  int64_t raised_channels = 0;
};

/// One run of the written file over the whole evaluation set.
struct RuntimeReport {
  std::string name;
  std::string version;
  /// Like `avx2`.
  std::string instruction_set;
  /// `all`: the runtime's default kernels; `none`: every node as it is written.
  std::string optimization;
  Accuracy accuracy;
  /// Same answers as the trained model.
  Accuracy agreement_trained;
};

/// Two models of the report on the same samples.
struct ComparisonReport {
  /// Names of report rows, like `fp32`.
  std::string first;
  std::string second;
  PairedComparison counts;
};

/// One class of the labels.
struct ClassReport {
  int64_t label = 0;
  int64_t samples = 0;
  int64_t fp32_right = 0;
  int64_t deployed_right = 0;
};

/// A sample whose answer changed between FP32 and the deployed model.
struct FlipReport {
  /// In the evaluation set.
  int64_t index = 0;
  std::optional<int64_t> label;
  int64_t fp32 = 0;
  int64_t deployed = 0;
};

/// A line of text whose reading changed between FP32 and the deployed model.
struct LineFlipReport {
  /// In the evaluation set.
  int64_t index = 0;
  /// "" without one.
  std::string label;
  std::string fp32;
  std::string deployed;
};

/// One way to quantize that a contract had tried.
struct RungReport {
  /// Like `PACT`.
  std::string name;
  /// `met`, `missed`, `failed` (it did not run to its end) or `skipped`.
  std::string outcome;
  /// Why it failed or was skipped, or its training ended early.
  std::string note;
  /// As deployed (without a runtime as trained), and what it lost against FP32; absent where it did not run to its end.
  std::optional<Accuracy> accuracy;
  std::optional<double> drop;
  int64_t steps = 0;
  double seconds = 0;
  /// Layers that it left in float.
  std::vector<std::string> float_layers;
};

/// An accuracy contract and what was done to keep it.
struct ContractReport {
  double max_drop = 0;
  bool met = false;
  /// The rung whose result this report is of.
  int64_t best = 0;
  std::vector<RungReport> rungs;
};

/// What the job ran on.
struct EnvironmentReport {
  std::string pactory_version;
  std::string libtorch_version;
  std::string cpu;
  int64_t threads = 0;
  std::string device;
  /// Machines of one class give the same bytes: `CPU AVX2` (the kernels that LibTorch takes), or `CUDA`.
  std::string device_class;
};

/// A report.
struct Report {
  std::string job;
  /// Like `top1`, and the same for people: docs/report.md lists them.
  std::string metric_name, metric_title;
  int64_t eval_samples = 0;
  std::optional<Accuracy> fp32, ptq, qat_plain, qat, deployed;
  /// Trained against deployed, and deployed against FP32, over the whole evaluation set.
  std::optional<Accuracy> agreement_trained, agreement_fp32;
  /// Power of the FP32 model's outputs over that of the deviation from them, in dB, on the first evaluation samples; absent where
  /// it was not measured.
  std::optional<double> trained_sqnr_db, deployed_sqnr_db, import_sqnr_db;
  /// FP32 in this engine against FP32 in the runtime.
  std::optional<Accuracy> agreement_import;
  /// Absent without a contract.
  std::optional<ContractReport> contract;
  std::vector<RuntimeReport> runtimes;
  std::vector<ComparisonReport> comparisons;
  /// Empty without labels.
  std::vector<ClassReport> classes;
  /// All, and the first of them.
  int64_t flips_total = 0;
  std::vector<FlipReport> flips;
  /// In their place where a sample is a line of text in known characters.
  std::vector<LineFlipReport> line_flips;
  /// What else than the metric tells how good a row is, like `character_error_rate`, by the row's name.
  std::map<std::string, std::map<std::string, double>> scores;
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
  /// What `pactory-trainer lint` warns of in the written file.
  std::vector<std::string> lint;
};

}  // namespace pactory::quant
