// Runs an ONNX file in the serving runtime, as a child process, and reads what it measured. Used by the pipeline. Stateless.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "quant/data/dataset.h"

namespace pactory::quant {

/// What to run.
struct RuntimeCheck {
  /// Program and first arguments.
  std::vector<std::string> command;
  std::string model_path;
  /// Folder for arrays and results; made, and removed at the end.
  std::string work_dir;
  int64_t batch_size = 64;
  int threads = 1;
  /// Runs of one sample on one thread that latency is measured on; 0: not measured.
  int64_t latency_runs = 0;
  /// `onnxruntime` or `openvino`.
  std::string runtime = "onnxruntime";
  /// For ONNX Runtime: whether it may fuse nodes into its own kernels, as it does by default, or runs each as it is written.
  bool optimized = true;
  /// Samples to run from the front of the dataset; 0: all.
  int64_t samples = 0;
  /// Called with the share done; a status that is not OK ends the check with it. May be null.
  std::function<absl::Status(double share)> on_part;
  std::function<bool()> stop;
  /// What is kept of a part's first outputs, with a row for each sample; null: the outputs themselves.
  std::function<absl::StatusOr<at::Tensor>(const at::Tensor& outputs)> keep;
};

/// What the runtime gave.
struct RuntimeResult {
  /// What is kept of every sample's first output, on the CPU.
  at::Tensor kept;
  std::string runtime_name;
  std::string runtime_version;
  /// Like `avx2` or `avx512_vnni`: decides which int8 kernels ran.
  std::string instruction_set;
  /// `passed`, or what the ONNX checker says.
  std::string checker;
  /// Median milliseconds of one sample on one thread.
  std::optional<double> latency_ms;
};

/// Whether the check's program has the runtime.
bool HasRuntime(const std::vector<std::string>& command, const std::string& runtime);

/// Runs the check; the dataset goes to the runtime in parts of bounded size. FAILED_PRECONDITION with what the runtime printed
/// where it can't load the model, INTERNAL where it fails otherwise.
absl::StatusOr<RuntimeResult> RunRuntimeCheck(const RuntimeCheck& check, const Dataset& dataset);

}  // namespace pactory::quant
